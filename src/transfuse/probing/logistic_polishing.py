"""The last step of a search: the few directions of largest variance, and the intercepts, solved almost exactly.

A certificate is ||gradient||² / (2 strength), so it overrates what the gradient has along directions of large variance,
where the true gain would be gradient² / (2 curvature): there L-BFGS leaves four fifths of the norm. In these directions
alone a pass costs next to nothing, and a few of them bring a certificate down five to ten times.
Letters: see `logistic_rows.py`; T the leading directions and the intercept, X = C · T.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from transfuse.probing.logistic_memory import Memory, begin, direction, empty, penalise, remember, smoothed
from transfuse.probing.logistic_passes import Probabilities, at, logits, places, products
from transfuse.probing.logistic_rows import Rows

_SWEEPS, _PAIRS = 30, 16
_FLAT = 1e-7
"""Least curvature of a column."""


@dataclass(frozen=True, kw_only=True)
class Polisher:
    """What the last polishing learnt."""

    memory: Memory
    strength: float


def blank_polisher(rows: Rows) -> Polisher:
    """Nothing learnt yet."""
    problems, columns = rows.share_KC.shape
    return Polisher(memory=empty(problems, _PAIRS, columns * (rows.top + 1)), strength=0.0)


def polish(
    rows: Rows, slope_KCP: Tensor, p: Probabilities, last: Polisher, strength: float, aim_K: Tensor, active: list[int]
) -> Polisher:
    """Move slopes (float64) and logits (in the place of probabilities) to the optimum in the leading directions.

    Steps of length 1 are taken as they come: where the bound does not fall to its aim, the next search goes on from
    there.
    """
    shape, top = (*slope_KCP.shape[:2], rows.top + 1), [*range(rows.top), -1]
    ones_X = torch.tensor([1.0] * rows.top + [0.0]).repeat(shape[1])
    curvature_KC = torch.zeros(shape[:2])
    loss_KX = _sweep(rows, p, active, curvature_KC)
    inverse_KX = 1.0 / ((curvature_KC.clamp_min(_FLAT)[..., None] * rows.value_P[top]).flatten(1) + strength * ones_X)
    slope_KX = slope_KCP[..., top].flatten(1).float()
    everyone, start_KX, gradient_KX = active, slope_KX.clone(), loss_KX + strength * ones_X * slope_KX
    penalise(last.memory, (strength - last.strength) * ones_X)
    begin(last.memory, gradient_KX, inverse_KX)
    memory, smooth = last.memory, (slope_KX.clone(), gradient_KX)
    measure_KX = (ones_X / (2 * strength)).expand_as(slope_KX)
    for _ in range(_SWEEPS):
        bound_K = (smooth[1].square() * measure_KX).sum(1)
        active = [k for k in active if bound_K[k] > aim_K[k]]
        if not active:
            break
        step_KX = torch.zeros_like(slope_KX)
        step_KX[active] = direction(memory, gradient_KX, inverse_KX)[active]
        _move(rows, p, step_KX.view(shape), active)
        slope_KX += step_KX
        there_KX = gradient_KX.clone()
        there_KX[active] = (_sweep(rows, p, active) + strength * ones_X * slope_KX)[active]
        memory = remember(memory, step_KX, there_KX - gradient_KX, there_KX, inverse_KX)
        gradient_KX, smooth = there_KX, smoothed(smooth, (slope_KX, there_KX), measure_KX)
    _move(rows, p, (smooth[0] - slope_KX).view(shape), everyone)
    slope_KCP[..., top] += (smooth[0] - start_KX).view(shape).double()
    return Polisher(memory=memory, strength=strength)


def _move(rows: Rows, p: Probabilities, step_KCT: Tensor, active: list[int]) -> None:
    for block, logit in zip(rows.blocks, p.here, strict=True):
        where = places(block, active)
        if where:
            moved_aCn = logits(step_KCT[[block.on[w] for w in where]], block.top_nT)
            if len(where) == len(block.on):
                logit += moved_aCn
            else:
                logit[where] += moved_aCn


def _sweep(rows: Rows, p: Probabilities, active: list[int], curvature_KC: Tensor | None = None) -> Tensor:
    """Gradient of the loss (K, X); fills in the mean curvature of each column."""
    gradient_KCT = torch.zeros(*rows.share_KC.shape, rows.top + 1)
    for block, logit in zip(rows.blocks, p.here, strict=True):
        where = places(block, active)
        if where:
            on, logit_aCn = [block.on[w] for w in where], at(logit, where)
            p_aCn = torch.softmax(logit_aCn, 1) if rows.kind == "single-label" else torch.sigmoid(logit_aCn)
            weight_a1n = at(block.narrow_an, where)[:, None]
            if curvature_KC is not None:
                curvature_KC[on] += ((1.0 - p_aCn).mul_(p_aCn).mul_(weight_a1n)).sum(-1) / rows.total_K[on][:, None]
            gradient_KCT[on] += products(p_aCn.sub_(block.target_Cn).mul_(weight_a1n), block.top_nT)
    return (gradient_KCT * (rows.live_KC / rows.total_K[:, None]).float()[..., None]).flatten(1)
