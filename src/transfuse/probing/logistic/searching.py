"""L-BFGS for several problems at once, on changes of the gradient since the last survey.

Nocedal, "Updating quasi-Newton matrices with limited storage", 1980, preconditioned by the Hessian's diagonal in the
eigenbasis, p_c (1 - p_c) value_r + strength. Ours: the pairs survive a change of the penalty, whose share of the
gradient is known exactly; and a search for its own in the few leading directions. A certificate is
||gradient||² / (2 strength), so it overrates what the gradient has along directions of large variance, where the true
gain would be gradient² / (2 curvature): there a search in all directions leaves four fifths of the norm, and one in
these alone costs next to nothing.
Letters: see `rows.py`; X = C · Q coefficients of a problem.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from transfuse.probing.logistic.passes import Odds, View, change, rounded, take
from transfuse.probing.logistic.rows import Rows

Pairs = list[tuple[Tensor, Tensor]]
"""The last steps (K, X) and by how much they changed the gradient of the loss, oldest first."""

_PAIRS = 12
_STEPS, _TRIALS = 100, 8
"""At most so many steps of a search, and trials of a step."""
_FLATTER = 0.9
"""A step is taken where the slope along it has at most this share of what it was."""


@dataclass(frozen=True, kw_only=True)
class Hill:
    """What is known where a search begins."""

    gradient_KX: Tensor
    penalty_X: Tensor
    """The strength, and 0 for intercepts."""
    inverse_KX: Tensor
    """Of the Hessian's diagonal."""
    measure_KX: Tensor
    """By which squares of the gradient add up to a bound on what is to be gained."""
    aim_K: Tensor
    """Where this bound may stop."""


def search(
    rows: Rows, odds: Odds, hill: Hill, pairs: Pairs, active: Sequence[int], view: View, ahead_KX: Tensor | None = None
) -> tuple[Tensor, float]:
    """The step (K, X) until the bound reaches its aim for every active problem, and the passes made; adds to `pairs`.

    The first way is the one ahead, where that is given and leads downhill.
    """
    gradient_KX, total_KX, passes = hill.gradient_KX, torch.zeros_like(hill.gradient_KX), 0.0
    usable = [_usable(hill, *pair) for pair in pairs]
    for _ in range(_STEPS):
        bound_K = (gradient_KX.square() * hill.measure_KX).sum(1)
        active = [k for k in active if not bound_K[k] <= hill.aim_K[k]]
        if not active:
            break
        way_KX = _direction(usable[-_PAIRS:], hill, gradient_KX) if ahead_KX is None else ahead_KX.to(gradient_KX.dtype)
        downhill_K1 = (_dots(way_KX, gradient_KX) < 0)[:, None]
        way_KX = rounded(rows, torch.where(downhill_K1, way_KX, -hill.inverse_KX * gradient_KX), view)
        ahead_KX = None
        step_KX, change_KX, trials = _step(rows, odds, hill, gradient_KX, way_KX, active, view)
        passes += trials
        if not step_KX.any():
            break  # the end of the precision
        total_KX += step_KX
        gradient_KX = gradient_KX + change_KX + hill.penalty_X * step_KX
        pairs[:] = [*pairs[1 - _PAIRS :], (step_KX, change_KX)]
        usable.append(_usable(hill, step_KX, change_KX))
    return total_KX, passes


def _usable(hill: Hill, moved_KX: Tensor, changed_KX: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A step, its change of the gradient with the penalty's share, 1 / (their product), and the Hessian's factor.

    Without curvature the last two are 0.
    """
    whole_KX = torch.addcmul(changed_KX, hill.penalty_X, moved_KX)
    product_K = _dots(moved_KX, whole_KX)
    valid_K = product_K > 1e-10 * moved_KX.norm(dim=1) * whole_KX.norm(dim=1)
    factor_K = product_K / _dots(whole_KX * hill.inverse_KX, whole_KX)
    return moved_KX, whole_KX, torch.where(valid_K, 1.0 / product_K, 0.0), torch.where(valid_K, factor_K, 0.0)


def _direction(usable: list[tuple[Tensor, Tensor, Tensor, Tensor]], hill: Hill, gradient_KX: Tensor) -> Tensor:
    """The quasi-Newton step against the gradient."""
    way_KX, factor_K, shares = gradient_KX.neg(), torch.zeros_like(gradient_KX[:, 0]), []
    for moved_KX, whole_KX, inverse_K, own_K in reversed(usable):
        factor_K = torch.where(factor_K > 0, factor_K, own_K)
        shares.append(inverse_K * _dots(moved_KX, way_KX))
        way_KX.addcmul_(whole_KX, shares[-1][:, None], value=-1.0)
    way_KX.mul_(hill.inverse_KX).mul_(torch.where(factor_K > 0, factor_K, 1.0)[:, None])
    for (moved_KX, whole_KX, inverse_K, _), share_K in zip(usable, reversed(shares), strict=True):
        way_KX.addcmul_(moved_KX, (share_K - inverse_K * _dots(whole_KX, way_KX))[:, None])
    return way_KX


def _dots(a_KX: Tensor, b_KX: Tensor) -> Tensor:
    return (a_KX * b_KX).sum(1)


def _step(
    rows: Rows, odds: Odds, hill: Hill, gradient_KX: Tensor, way_KX: Tensor, active: list[int], view: View
) -> tuple[Tensor, Tensor, float]:
    """A step along the way that leaves a flatter slope, for every active problem, and the loss's change of gradient.

    Both are 0 where there is none.
    """
    slope_K, length_K = _dots(way_KX, gradient_KX), torch.ones(len(way_KX), dtype=way_KX.dtype)
    step_KX, change_KX, passes = torch.zeros_like(way_KX), torch.zeros_like(way_KX), 0.0
    way_KCQ = way_KX.view(len(way_KX), rows.share_KC.shape[1], -1)
    for _ in range(_TRIALS):
        tried_KX = change(rows, odds, way_KCQ, length_K, active, view).flatten(1)
        passes += len(active) / len(way_KX)
        reached_K = slope_K + _dots(way_KX, tried_KX) + length_K * _dots(hill.penalty_X * way_KX, way_KX)
        flat_K = reached_K.abs() <= _FLATTER * slope_K.abs()  # not where it is nan
        taken = [k for k in active if flat_K[k]]
        take(rows, odds, taken)
        step_KX[taken], change_KX[taken] = (length_K[:, None] * way_KX)[taken], tried_KX[taken]
        active = [k for k in active if not flat_K[k]]
        if not active:
            break
        length_K *= _factor(slope_K, reached_K)
    return step_KX, change_KX, passes


def _factor(slope_K: Tensor, reached_K: Tensor) -> Tensor:
    """By how much to lengthen a step that is still as steep, or to shorten one that went too far (or overflowed)."""
    secant_K = (slope_K / (slope_K - reached_K)).clamp(0.1, 0.9)
    return torch.where(reached_K <= 0, 3.0, torch.where(reached_K.isfinite(), secant_K, 0.1))
