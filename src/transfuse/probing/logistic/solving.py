"""The path of strengths, all problems at once: predict, search in low precision, certify.

The solution moves almost on a line in the logarithm of the strength, so each strength starts on the line through the
two solutions before (a secant predictor: Allgower and Georg, "Numerical Continuation Methods", 1990). From there
a search works with changes of the gradient since the last survey; the next survey certifies what it found, or the
search goes on from it.
Letters: see `rows.py`; X = C · P coefficients of a problem, J strengths.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from transfuse.probing.logistic.rows import Rows
from transfuse.probing.logistic.searching import Hill, Pairs, search
from transfuse.probing.logistic.surveys import FLAT, Survey, blank, certificates, survey

_ROUNDS, _STALLED = 40, 4
"""Surveys of one strength at most, and of these without progress."""
_APART = 2
"""Rounds after which leading directions are no longer left to surveys: they and the others may undo each other."""
_AIM = 0.4
"""The search stops at this share of the tolerance, since its gradient is not exact."""
_LEADING = 0.4
"""The leading directions' share of the tolerance after a survey."""
_TRUSTED = {torch.bfloat16: 1e-5, torch.float32: 1e-9, torch.float64: 1e-20}
"""By how much a search may reduce the bound before the next survey, in each precision."""


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


def solve_path(rows: Rows, slope_KCP: Tensor, strengths: Sequence[float], tolerance: float) -> Iterator[Found]:
    """The problems at every strength in turn, starting at the slopes given (float64)."""
    known = blank(rows, slope_KCP.clone())
    survey(rows, known, range(len(rows.held)), strengths[0])
    found = Found(known=known, certificate_K=torch.zeros(len(rows.held)), surveys=1, passes=0.0)
    pairs: Pairs = []
    history: list[tuple[float, Tensor]] = []
    for strength in strengths:
        found = _solve(rows, found, strength, pairs, _predicted(history, strength), tolerance)
        history = [*history[-1:], (strength, known.slope_KCP.clone())]
        yield found


def _solve(rows: Rows, found: Found, strength: float, pairs: Pairs, ahead_KX: Tensor | None, tolerance: float) -> Found:
    """Search and survey in turn until every problem is certified, or until the precision gives no more."""
    known, surveys, passes, stalled = found.known, found.surveys, found.passes, 0
    objective_K, certificate_K = certificates(rows, known, strength)
    best = float("inf")
    for taken in range(_ROUNDS):
        active = torch.nonzero(~(certificate_K <= tolerance)).flatten().tolist()
        if not active or stalled == _STALLED:
            break
        if stalled > 1:  # float32 gives no more
            rows = replace(rows, survey_dtype=torch.float64)
        leading = rows.top if taken < _APART else 0
        hill = _hill(rows, known, strength, tolerance * objective_K, leading)
        step_KX, more = search(rows, known.odds, hill, pairs, active, "all", ahead_KX)
        known.slope_KCP[active] += step_KX[active].view(len(active), *known.slope_KCP.shape[1:])
        survey(rows, known, active, strength, _LEADING * tolerance * objective_K)
        surveys, passes, ahead_KX = surveys + 1, passes + more, None
        objective_K, certificate_K = certificates(rows, known, strength)
        worst = float(certificate_K.max())
        best, stalled = min(best, worst), stalled + 1 if worst > 0.9 * best else 0
    return Found(known=known, certificate_K=certificate_K, surveys=surveys, passes=passes)


def _predicted(history: list[tuple[float, Tensor]], strength: float) -> Tensor | None:
    """The step along the line through the last two solutions, in the logarithm of the strength."""
    if len(history) < 2 or history[0][0] == history[1][0]:
        return None
    (first, before_KCP), (second, last_KCP) = history
    ratio = math.log(strength / second) / math.log(second / first)
    return (ratio * (last_KCP - before_KCP)).flatten(1)


def _hill(rows: Rows, known: Survey, strength: float, allowed_K: Tensor, leading: int) -> Hill:
    """Where a search begins. Leading directions, which a survey solves, are measured by what is really to be gained."""
    penalty_CP = torch.full(known.slope_KCP.shape[1:], strength, dtype=torch.float64)
    penalty_CP[:, -1] = 0.0
    curvature_KC = known.curvature_KC.clamp_min(FLAT)
    diagonal_KCP = curvature_KC[..., None] * rows.value_P + penalty_CP
    measure_KCP = torch.full_like(diagonal_KCP, 0.5 / strength)
    measure_KCP[..., :leading] = 0.5 / diagonal_KCP[..., :leading]
    measure_KCP[..., -1] = 0.5 / curvature_KC
    gradient_KCP = known.gradient_KCP + penalty_CP * known.slope_KCP
    bound_K = (gradient_KCP.square() * measure_KCP).sum((1, 2))
    dtype = rows.odds_dtype
    return Hill(
        gradient_KX=gradient_KCP.flatten(1).to(dtype),
        penalty_X=penalty_CP.flatten().to(dtype),
        inverse_KX=(1.0 / diagonal_KCP).flatten(1).to(dtype),
        measure_KX=measure_KCP.flatten(1).to(dtype),
        aim_K=torch.maximum(_AIM * allowed_K, _TRUSTED[rows.dtype] * bound_K),
    )
