"""The path of strengths, all problems at once: predict, search in low precision, certify.

The solution moves almost on a line in the logarithm of the strength, so each strength starts on the line through the
two solutions before (a secant predictor: Allgower and Georg, "Numerical Continuation Methods", 1990). From there
L-BFGS, preconditioned by the Hessian's diagonal in the eigenbasis, p_c (1 - p_c) value_r + strength, works with
changes of the gradient since the last survey; the next survey certifies what it found, or the search goes on from it.
Letters: see `logistic_rows.py`; X = C · P coefficients of a problem, J strengths.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from transfuse.probing.logistic_memory import Memory, begin, direction, empty, penalise, remember, smoothed
from transfuse.probing.logistic_passes import change, rounded, take
from transfuse.probing.logistic_rows import Rows
from transfuse.probing.logistic_surveys import Survey, blank, certificates, survey

_PAIRS = 12
_STEPS, _TRIALS, _ROUNDS, _STALLED = 100, 8, 40, 4
"""At most so many steps between two surveys, trials of a step, surveys of one strength, of these without progress."""
_FLATTER = 0.9
"""A step is taken where the slope along it has at most this share of what it was."""
_AIM = 0.3
"""The search stops at this share of the tolerance, since its gradient is not exact."""
_POLISHED = 0.2
"""The leading directions' share of the tolerance after a survey."""
_TRUSTED = {torch.bfloat16: 1e-5, torch.float32: 1e-9}
"""By how much a search may reduce the bound before the next survey, in each precision."""
_FLAT = 1e-7
"""Least curvature of a column."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """The problems at one strength."""

    known: Survey
    """Reused by the next strength: copy what is to be kept."""
    certificate_K: Tensor
    surveys: int
    """Exact passes over the rows so far."""
    passes: float
    """Cheap ones; one for a part of the problems counts as that part."""


@dataclass(frozen=True, kw_only=True)
class _Terrain:
    """What a search walks on: the objective around the last survey."""

    rows: Rows
    known: Survey
    strength: float
    penalty_X: Tensor
    """The strength, and 0 for intercepts."""
    gradient_KX: Tensor
    """At the survey."""
    inverse_KX: Tensor
    """Of the Hessian's diagonal."""
    measure_KX: Tensor
    """By which squares of the gradient add up to the bound."""


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a search is."""

    step_KX: Tensor
    """Away from the survey."""
    gradient_KX: Tensor
    smooth_step_KX: Tensor
    """Between the places so far, where the gradient is smallest; see `smoothed`."""
    smooth_gradient_KX: Tensor
    objective_K: Tensor
    """About: integrated from the slopes along the steps."""
    memory: Memory
    passes: float


def solve_path(rows: Rows, slope_KCP: Tensor, strengths: Sequence[float], tolerance: float) -> Iterator[Found]:
    """The problems at every strength in turn, starting at the slopes given (float64)."""
    known = blank(rows, slope_KCP.clone())
    survey(rows, known, range(len(rows.held)))
    found = Found(known=known, certificate_K=torch.zeros(len(rows.held)), surveys=1, passes=0.0)
    memory = empty(len(rows.held), _PAIRS, slope_KCP[0].numel())
    history: list[tuple[float, Tensor]] = []
    for strength in strengths:
        if history:
            penalise(memory, _penalty(rows, known, strength - history[-1][0]))
        found, memory = _solve(rows, found, strength, memory, _predicted(history, strength), tolerance)
        history = [*history[-1:], (strength, known.slope_KCP.clone())]
        yield found


def _solve(
    rows: Rows, found: Found, strength: float, memory: Memory, ahead_KX: Tensor | None, tolerance: float
) -> tuple[Found, Memory]:
    """Search and survey in turn until every problem is certified, or until float64 gives no more."""
    known, surveys, passes, stalled = found.known, found.surveys, found.passes, 0
    certificate_K = certificates(rows, known, strength)[1]
    best = float("inf")
    for _ in range(_ROUNDS):
        active = torch.nonzero(certificate_K > tolerance).flatten().tolist()
        if not active or stalled == _STALLED:
            break
        if stalled:  # float32 gives no more
            rows = replace(rows, exact=True)
        place = _search(_terrain(rows, known, strength), memory, active, ahead_KX, tolerance)
        known.slope_KCP[active] += place.smooth_step_KX[active].view(len(active), *known.slope_KCP.shape[1:])
        survey(rows, known, active, strength, _POLISHED * tolerance * place.objective_K)
        memory, surveys, passes, ahead_KX = place.memory, surveys + 1, passes + place.passes, None
        certificate_K = certificates(rows, known, strength)[1]
        worst = float(certificate_K.max())
        best, stalled = min(best, worst), stalled + 1 if worst > 0.9 * best else 0
    return Found(known=known, certificate_K=certificate_K, surveys=surveys, passes=passes), memory


def _predicted(history: list[tuple[float, Tensor]], strength: float) -> Tensor | None:
    """The step along the line through the last two solutions, in the logarithm of the strength."""
    if len(history) < 2 or history[0][0] == history[1][0]:
        return None
    (first, before_KCP), (second, last_KCP) = history
    ratio = math.log(strength / second) / math.log(second / first)
    return (ratio * (last_KCP - before_KCP)).flatten(1).float()


def _penalty(rows: Rows, known: Survey, strength: float) -> Tensor:
    """The penalty's diagonal: the strength, and 0 for intercepts."""
    penalty_CP = torch.full(known.slope_KCP.shape[1:], strength)
    penalty_CP[:, -1] = 0.0
    return penalty_CP.flatten()


def _terrain(rows: Rows, known: Survey, strength: float) -> _Terrain:
    penalty_X = _penalty(rows, known, strength)
    curvature_KC = known.curvature_KC.clamp_min(_FLAT).float()
    diagonal_KCP = curvature_KC[..., None] * rows.value_P + penalty_X.view(known.slope_KCP.shape[1:])
    measure_KCP = torch.full(diagonal_KCP.shape, 0.5 / strength)
    if not rows.exact:  # what a survey polishes
        measure_KCP[..., : rows.top] = 0.5 / diagonal_KCP[..., : rows.top]
    measure_KCP[..., -1] = 0.5 / curvature_KC
    return _Terrain(
        rows=rows,
        known=known,
        strength=strength,
        penalty_X=penalty_X,
        gradient_KX=(known.gradient_KCP.flatten(1) + penalty_X * known.slope_KCP.flatten(1)).float(),
        inverse_KX=(1.0 / diagonal_KCP).flatten(1),
        measure_KX=measure_KCP.flatten(1),
    )


def _search(on: _Terrain, memory: Memory, active: list[int], ahead_KX: Tensor | None, tolerance: float) -> _Place:
    """L-BFGS from the survey, after the predicted step, until the bound seems to hold for every problem."""
    objective_K = certificates(on.rows, on.known, on.strength)[0]
    begin(memory, on.gradient_KX, on.inverse_KX)
    place = _Place(
        step_KX=torch.zeros_like(on.gradient_KX),
        gradient_KX=on.gradient_KX,
        smooth_step_KX=torch.zeros_like(on.gradient_KX),
        smooth_gradient_KX=on.gradient_KX,
        objective_K=objective_K,
        memory=memory,
        passes=0.0,
    )
    trusted_K = _TRUSTED[on.rows.dtype] * _bound(on, on.gradient_KX)
    for _ in range(_STEPS):
        left_K = _bound(on, place.smooth_gradient_KX) > torch.maximum(_AIM * tolerance * place.objective_K, trusted_K)
        active = [k for k in active if left_K[k]]
        if not active:
            break
        way_KX = direction(place.memory, place.gradient_KX, on.inverse_KX) if ahead_KX is None else ahead_KX
        leap, ahead_KX, before = ahead_KX is not None and on.rows.dtype is torch.bfloat16, None, place
        place = _advance(on, place, _downhill(on, place, way_KX, leap), active, leap)
        if (place.step_KX == before.step_KX).all():
            break  # the end of the precision
    return place


def _bound(on: _Terrain, gradient_KX: Tensor) -> Tensor:
    """About how far the objective is above the optimum, (K,)."""
    return (gradient_KX.square() * on.measure_KX).sum(1).double()


def _downhill(on: _Terrain, place: _Place, way_KX: Tensor, leap: bool) -> Tensor:
    """The way, or the preconditioned gradient where it does not lead downhill, in the digits that a pass sees."""
    downhill_K = (way_KX * place.gradient_KX).sum(1) < 0
    way_KX = torch.where(downhill_K[:, None], way_KX, -on.inverse_KX * place.gradient_KX)
    return way_KX if leap else rounded(on.rows, way_KX)


def _advance(on: _Terrain, place: _Place, way_KX: Tensor, active: list[int], leap: bool) -> _Place:
    """A step along the way that leaves a flatter slope, for every active problem; none where there is none."""
    rows, probabilities = on.rows, on.known.probabilities
    slope_K = (way_KX * place.gradient_KX).sum(1)
    length_K, step_KX, gradient_KX = torch.ones(len(slope_K)), place.step_KX.clone(), place.gradient_KX.clone()
    objective_K, passes = place.objective_K.clone(), place.passes
    for _ in range(_TRIALS):
        change_KCP = change(rows, probabilities, way_KX.view(on.known.slope_KCP.shape), length_K, active, leap=leap)
        there_KX = place.gradient_KX + change_KCP.flatten(1) + on.penalty_X * way_KX * length_K[:, None]
        passes += len(active) / len(slope_K)
        reached_K = (way_KX * there_KX).sum(1)
        flat_K = reached_K.abs() <= _FLATTER * slope_K.abs()  # not where it is nan
        taken = [k for k in active if flat_K[k]]
        take(rows, probabilities, taken)
        step_KX[taken] += (length_K[:, None] * way_KX)[taken]
        gradient_KX[taken] = there_KX[taken]
        objective_K[taken] += (0.5 * length_K * (slope_K + reached_K))[taken]
        active = [k for k in active if not flat_K[k]]
        if not active:
            break
        length_K *= _factor(slope_K, reached_K)
    memory = remember(
        place.memory, step_KX - place.step_KX, gradient_KX - place.gradient_KX, gradient_KX, on.inverse_KX
    )
    before = place.smooth_step_KX, place.smooth_gradient_KX
    smooth_step_KX, smooth_gradient_KX = smoothed(before, (step_KX, gradient_KX), on.measure_KX)
    return _Place(
        step_KX=step_KX,
        gradient_KX=gradient_KX,
        smooth_step_KX=smooth_step_KX,
        smooth_gradient_KX=smooth_gradient_KX,
        objective_K=objective_K,
        memory=memory,
        passes=passes,
    )


def _factor(slope_K: Tensor, reached_K: Tensor) -> Tensor:
    """By how much to lengthen a step that is still as steep, or to shorten one that went too far (or overflowed)."""
    secant_K = (slope_K / (slope_K - reached_K)).clamp(0.1, 0.9)
    return torch.where(reached_K <= 0, 3.0, torch.where(reached_K.isfinite(), secant_K, 0.1))
