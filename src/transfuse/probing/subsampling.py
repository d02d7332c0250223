"""Held-out losses of ridge heads fitted to ever larger subsets: the measurements behind `learning_curves.py`.

Subsets are nested and stratified by fold and class. The rows that each adds to the one before are a cell of a
partition, so that the statistics of every subset and fold are sums over cells, and rows are multiplied about 1 + R/2
times in all, not once a subset and fold. A strength is chosen for every subset by the squared error on the held-out
folds, which their statistics give; one matrix product then gives all predictions. For classes that error is taken at
the best common scale of the outputs, as `heads.py` takes the log-loss at the best temperature: without it few examples
ask for so much shrinkage that the answer is the largest class.
Features are scaled by their standard deviation over all rows given (the metric of the penalty: no label is used).
Letters: N examples, D features, C targets, K folds, S sizes, R draws, M of R and S together, E of M and C.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from transfuse.core.randomness import key
from transfuse.probing.moments import (
    Moments,
    added,
    covariance_DD,
    cross_covariance_DC,
    mean_D,
    moments,
    pilot,
    subtracted,
    target_mean_C,
)
from transfuse.probing.problem import Problem

Array = NDArray[np.float64]
Linear = tuple[Array, Array]
"""Weights (D, C) and biases (C,) on raw features."""

STRENGTHS = tuple(float(s) for s in np.logspace(3, -6, 19))
"""Strongest first. On standardised features the mean eigenvalue is 1, so the range does not depend on units."""
_ROWS = 4096
"""Rows of a block of predictions."""


def held_out_losses(problem: Problem, shares_S: Array, draws: int, seed: int) -> np.ndarray:
    """Loss (R, S, N) of every example from the head that was fitted to a share of the other folds.

    0 or 1 for single-label, the share of wrong labels for multi-label, the squared error of standardised targets for
    regression. The last share must be 1: there all draws are the same.
    """
    folds = _partition(problem, problem.fold_N, problem.folds)
    total = _sum(folds)
    scale_D = _scale(total)
    whole = _heads([subtracted(total, fold) for fold in folds], folds, scale_D, problem.kind != "regression")
    heads_MK = []
    for draw in range(draws):
        heads_MK += _subset_heads(problem, shares_S, folds, scale_D, key(seed, "learning curve", draw))
        heads_MK.append(whole)
    losses_NM = np.empty((len(problem.x_ND), len(heads_MK)), dtype=np.float32)
    for fold in range(problem.folds):
        held = np.flatnonzero(problem.fold_N == fold)
        weight_DE, bias_E = (np.concatenate([heads[fold][part] for heads in heads_MK], axis=-1) for part in (0, 1))
        # in float32, centred first, so that large means cost no digits
        centre_D, weight32_DE = mean_D(total), weight_DE.astype(np.float32)
        bias_E = bias_E + centre_D @ weight_DE
        for rows in np.array_split(held, max(1, len(held) // _ROWS)):
            values_NE = (problem.x_ND[rows] - centre_D).astype(np.float32) @ weight32_DE + bias_E
            losses_NM[rows] = _loss(values_NE.reshape(len(rows), len(heads_MK), -1), problem, rows)
    return np.ascontiguousarray(losses_NM.T).reshape(draws, len(shares_S), -1)


def _subset_heads(
    problem: Problem, shares_S: Array, folds: list[Moments], scale_D: Array, seed: int
) -> list[list[Linear]]:
    """Heads of every fold for every share but the last."""
    level_N = np.searchsorted(shares_S, _ranks(problem, seed))
    found, parts = [], [subtracted(fold, fold) for fold in folds]
    for level in range(len(shares_S) - 1):
        cells = _partition(problem, np.where(level_N == level, problem.fold_N, -1), problem.folds)
        parts = [added(part, cell) for part, cell in zip(parts, cells, strict=True)]
        total = _sum(parts)
        found.append(_heads([subtracted(total, part) for part in parts], folds, scale_D, problem.kind != "regression"))
    return found


def _ranks(problem: Problem, seed: int) -> Array:
    """A rank in 0..1 for every example, even within each fold and class: the share p of lowest ranks is a subset."""
    generator = np.random.default_rng(seed)
    strata_N = problem.fold_N.astype(np.int64)
    if problem.kind == "single-label":
        strata_N = strata_N * (int(problem.y.max()) + 1) + problem.y
    order = np.lexsort([generator.random(len(strata_N)), strata_N])
    _, starts, counts = np.unique(strata_N[order], return_index=True, return_counts=True)
    ranks_N = np.empty(len(strata_N))
    # a common offset a stratum: a class of one example is in a subset as often as its share says
    offsets = np.repeat(generator.random(len(counts)), counts)
    ranks_N[order] = (np.arange(len(order)) - np.repeat(starts, counts) + offsets) / np.repeat(counts, counts)
    return ranks_N


def _scale(total: Moments) -> Array:
    """Standard deviations; 1 where a feature is constant but for rounding."""
    deviation_D = np.sqrt(np.maximum(np.diag(covariance_DD(total)), 0.0))
    return np.where(deviation_D > 1e-6 * np.abs(mean_D(total)), deviation_D, 1.0)


def _partition(problem: Problem, part_N: np.ndarray, parts: int) -> list[Moments]:
    like = pilot(problem.x_ND, problem.targets_NC, problem.weights_N)
    return [
        moments(problem.x_ND, problem.targets_NC, problem.weights_N, rows=np.flatnonzero(part_N == part), like=like)
        for part in range(parts)
    ]


def _sum(parts: list[Moments]) -> Moments:
    total = parts[0]
    for part in parts[1:]:
        total = added(total, part)
    return total


@dataclass(frozen=True, kw_only=True)
class _Fold:
    """A training set in standardised coordinates, with what is held out measured from its means."""

    mean_D: Array
    scale_D: Array
    target_mean_C: Array
    covariance_DD: Array
    cross_DC: Array
    held_weight: float
    held_DD: Array
    held_DC: Array
    held_squares: float
    """Means over the held-out rows of z z', z t' and t², with z and t less the training means."""


def _heads(trains: list[Moments], held: list[Moments], scale_D: Array, rescaled: bool) -> list[Linear]:
    """For every fold the head of the common strength with the least squared error on what is held out."""
    folds = [_standardised(train, fold, scale_D) for train, fold in zip(trains, held, strict=True)]
    best, least, worse = [np.zeros_like(fold.cross_DC) for fold in folds], np.inf, 0
    for strength in STRENGTHS:
        try:
            slopes = [_solved(fold, strength) for fold in folds]
        except LinAlgError:  # the penalty is below the rounding of the statistics
            break
        error = _squared_error(folds, slopes, rescaled)
        best, least, worse = (slopes, error, 0) if error < least else (best, least, worse + 1)
        if worse == 2:
            break
    return [_unfolded(fold, slope_DC) for fold, slope_DC in zip(folds, best, strict=True)]


def _standardised(train: Moments, held: Moments, scale_D: Array) -> _Fold:
    by_D, by_C = (mean_D(held) - mean_D(train)) / scale_D, target_mean_C(held) - target_mean_C(train)
    scale_DD, scale_D1 = np.outer(scale_D, scale_D), scale_D[:, None]
    variance_C = held.target_squares_C / held.weight - target_mean_C(held) ** 2
    return _Fold(
        mean_D=mean_D(train),
        scale_D=scale_D,
        target_mean_C=target_mean_C(train),
        covariance_DD=covariance_DD(train) / scale_DD,
        cross_DC=cross_covariance_DC(train) / scale_D1,
        held_weight=held.weight,
        held_DD=covariance_DD(held) / scale_DD + np.outer(by_D, by_D),
        held_DC=cross_covariance_DC(held) / scale_D1 + np.outer(by_D, by_C),
        held_squares=float((variance_C + by_C**2).sum()),
    )


def _solved(fold: _Fold, strength: float) -> Array:
    """Slopes (D, C) of standardised features."""
    penalised_DD = fold.covariance_DD + strength * np.eye(len(fold.scale_D))
    return cho_solve(cho_factor(penalised_DD, overwrite_a=True, check_finite=False), fold.cross_DC, check_finite=False)


def _squared_error(folds: list[_Fold], slopes: list[Array], rescaled: bool) -> float:
    """Summed over all held-out rows and targets; of outputs times their best common factor where `rescaled`."""
    squares = linear = quadratic = 0.0
    for fold, slope_DC in zip(folds, slopes, strict=True):
        squares += fold.held_weight * fold.held_squares
        linear += fold.held_weight * float(np.vdot(slope_DC, fold.held_DC))
        quadratic += fold.held_weight * float(np.vdot(slope_DC, fold.held_DD @ slope_DC))
    factor = max(linear, 0.0) / quadratic if rescaled and quadratic > 0 else 1.0
    return squares - 2.0 * factor * linear + factor**2 * quadratic


def _unfolded(fold: _Fold, slope_DC: Array) -> Linear:
    weight_DC = slope_DC / fold.scale_D[:, None]
    return weight_DC, fold.target_mean_C - fold.mean_D @ weight_DC


def _loss(values_NMC: np.ndarray, problem: Problem, rows: np.ndarray) -> np.ndarray:
    """See `held_out_losses`."""
    if problem.kind == "single-label":
        return values_NMC.argmax(axis=-1) != problem.y[rows][:, None]
    targets_NMC = problem.targets_NC[rows][:, None, :]
    if problem.kind == "multi-label":
        return ((values_NMC > 0.5) != (targets_NMC > 0.5)).mean(axis=-1)
    return ((values_NMC - targets_NMC) ** 2).mean(axis=-1)
