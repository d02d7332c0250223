"""Feature weights: a ridge head with one strength for each block of features, chosen by cross-validation.

Multiplying a block's features by a weight and dividing its strength by the weight's square are the same, so to weigh
blocks is to choose their strengths (group-wise ridge: van de Wiel et al., "Better prediction by use of co-data",
Statistics in Medicine 35, 2016). The squared error over the held-out folds is a closed form of the folds' statistics,
and so is its gradient, for one more solution with the same Cholesky factor: L-BFGS finds the strengths without another
look at the examples. Siblings: `blocks.py` chooses blocks and gives a good start, `block_gains.py` judges them.

For features z of variance 1 over all rows and weights w that sum to 1, a head minimises, for every column c,
    sum_n w_n (t_nc - b_c - z_n·v_c)^2 + sum_m strength_m ||v_mc||^2.
Letters: K folds, D features, C targets, M blocks.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import OptimizeResult, minimize

from transfuse.core.errors import DataError, UsageError
from transfuse.probing.block_statistics import (
    GREATEST,
    columns_of,
    least_strength,
    precision_of,
    resolved,
    right_sides,
    scatter,
    solved,
    variance_D,
    varying_C,
    whole,
)
from transfuse.probing.moments import Moments, reshifted, subtracted

Array = NDArray[np.float64]

_START = 0.1
_ENOUGH = 1e-5
"""Relative change of the squared error at which the search ends, where it is also flat:"""
_FLAT = 1e-3
"""relative change for each factor of e in a strength."""


@dataclass(frozen=True, kw_only=True)
class BlockStrengths:
    """One strength a block, and what cross-validation says of them."""

    strengths: Mapping[str, float]
    error: float
    """Share of the targets' squared deviation that heads fitted without a fold leave over in it; lower is better."""
    fold_errors: tuple[float, ...]
    """The same of each fold."""
    evaluations: int


def tune_strengths(
    folds: Sequence[Moments],
    widths: Mapping[str, int],
    *,
    start: Mapping[str, float] | None = None,
    most: int = 30,
) -> BlockStrengths:
    """The strengths of the least squared error over the held-out folds.

    Features are scaled by their standard deviation over all rows; held-out targets have no part in the heads that
    judge them, but one strength a block is chosen on them.

    Args:
        folds: Statistics of each fold over the blocks' features side by side, of one shift: see `fold_moments`.
        widths: Number of features of each block by name, in the order of the columns.
        start: First strength of each block, such as those of `choose_blocks`; None for 0.1 each.
        most: Search steps.

    Raises:
        UsageError: Fewer than 2 folds, widths that do not add up, a start that names other blocks.
        DataError: Targets of which none varies, or that do not vary outside one of the folds.
    """
    total = whole(folds)
    columns = columns_of(widths, len(total.sum_D))
    if start is not None and set(start) != set(widths):
        raise UsageError(f"`start` must name the blocks {sorted(widths)}, but names {sorted(start)}.")
    varying_C(total)
    first = np.log([_START if start is None else start[name] for name in widths])
    span = (float(np.log(least_strength(total))), float(np.log(GREATEST)))
    unit_D, sides = variance_D(total), [_side(total, fold) for fold in folds]

    def errors(log_strength_M: Array) -> tuple[Array, Array]:
        return _errors(sides, list(columns.values()), unit_D, log_strength_M)

    log_strength_M, errors_K, evaluations = _lowest(errors, np.clip(first, *span), span, most)
    squares_K = np.array([side.squares for side in sides])
    return BlockStrengths(
        strengths=dict(zip(widths, np.exp(log_strength_M).tolist(), strict=True)),
        error=float(errors_K.sum() / squares_K.sum()),
        fold_errors=tuple((errors_K / np.where(squares_K > 0, squares_K, np.nan)).tolist()),
        evaluations=evaluations,
    )


def _lowest(
    errors: Callable[[Array], tuple[Array, Array]], first_M: Array, span: tuple[float, float], most: int
) -> tuple[Array, Array, int]:
    """Log strengths (M,) of the least sum of errors, the errors (K,), and how many evaluations it took."""
    tried: list[tuple[Array, Array]] = []
    steepest: list[float] = []

    def objective(log_strength_M: Array) -> tuple[float, Array]:
        errors_K, slope_M = errors(log_strength_M)
        tried.append((log_strength_M.copy(), errors_K))
        # in units of what is enough, for the first step is as long as the slope
        slope_M = slope_M / errors_K.sum() / _ENOUGH
        steepest.append(float(np.abs(slope_M).max()))
        return float(np.log(errors_K.sum() / tried[0][1].sum())) / _ENOUGH, slope_M

    def enough(intermediate_result: OptimizeResult) -> None:
        reached.append(float(intermediate_result.fun))
        if reached[-2] - reached[-1] < 1.0 and steepest[-1] < _FLAT / _ENOUGH:
            raise StopIteration

    reached, options = [0.0], {"maxiter": most, "ftol": 0.0, "gtol": 1.0, "maxls": 10}
    bounds = [span] * len(first_M)
    minimize(objective, first_M, jac=True, method="L-BFGS-B", bounds=bounds, options=options, callback=enough)
    return *min(tried, key=lambda t: float(t[1].sum())), len(tried)


def fit_blocks(
    moments: Moments, widths: Mapping[str, int], strengths: Mapping[str, float], unit_D: Array | None = None
) -> tuple[Array, Array]:
    """Weights (C, D) and bias (C,) on raw features of the ridge head with these strengths.

    `unit_D`: variances by which features are scaled, when they are those of other rows too; see `variance_D`.
    """
    columns = columns_of(widths, len(moments.sum_D))
    penalty_D = np.concatenate([np.full(at.stop - at.start, strengths[name]) for name, at in columns.items()])
    right_DC, precision = right_sides(moments), precision_of(moments)
    penalty_D = penalty_D * moments.weight * (variance_D(moments) if unit_D is None else unit_D)
    _, slope_DC = solved(scatter(moments, precision), right_DC, penalty_D)
    mean_D = moments.shift_D + moments.sum_D / moments.weight
    return slope_DC.T, moments.target_sum_C / moments.weight - mean_D @ slope_DC


@dataclass(frozen=True, kw_only=True)
class _Side:
    """One way to split: what the training rows say, and how far held-out rows lie from their means."""

    weight: float
    scatter_DD: np.ndarray
    right_DC: Array
    held: Moments
    """Measured from the mean of the training rows."""
    held_cross_DC: Array
    squares: float
    """Sum of the held-out targets' squared distances from the training mean."""


def _side(total: Moments, fold: Moments) -> _Side:
    train = subtracted(total, fold)
    if not train.weight > 0:
        raise DataError("Every fold must leave rows to train on, but one holds all the weight: use more folds.")
    mean_C = train.target_sum_C / train.weight
    held = reshifted(fold, train.shift_D + train.sum_D / train.weight)
    squares_C = held.target_squares_C - 2.0 * mean_C * held.target_sum_C + held.weight * mean_C**2
    return _Side(
        weight=train.weight,
        scatter_DD=scatter(train, precision_of(total)),
        right_DC=right_sides(train),
        held=held,
        held_cross_DC=held.cross_DC - np.outer(held.sum_D, mean_C),
        squares=float(squares_C.sum()),
    )


def _errors(
    sides: Sequence[_Side], columns: Sequence[slice], unit_D: Array, log_strength_M: Array
) -> tuple[Array, Array]:
    """Held-out squared error of each fold (K,), and the gradient of their sum by the log strengths (M,)."""
    penalty_D = np.empty_like(unit_D)
    for at, log_strength in zip(columns, log_strength_M, strict=True):
        penalty_D[at] = np.exp(log_strength) * unit_D[at]
    errors_K, slope_D = np.zeros(len(sides)), np.zeros_like(unit_D)
    for k, side in enumerate(sides):
        factor_DD, slope_DC = solved(side.scatter_DD, side.right_DC, side.weight * penalty_D)
        seen_DC = side.held.gram_DD @ slope_DC
        errors_K[k] = side.squares + float((slope_DC * (seen_DC - 2.0 * side.held_cross_DC)).sum())
        back_DC = resolved(factor_DD, seen_DC - side.held_cross_DC)
        slope_D -= 2.0 * side.weight * penalty_D * np.einsum("dc,dc->d", back_DC, slope_DC)
    return errors_K, np.array([slope_D[at].sum() for at in columns])
