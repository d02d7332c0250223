"""Transferability from statistics alone: exact LogME, and the H-score with and without Ledoit-Wolf shrinkage.

LogME: You et al., "LogME: Practical Assessment of Pre-trained Models for Transfer Learning", ICML 2021,
arXiv:2102.11005. H-score: Bao et al., "An Information-Theoretic Approach to Transferability in Task Transfer
Learning", ICIP 2019, arXiv:2212.10082. Shrunk: Ibrahim et al., "Newer is not always better", 2021, arXiv:2110.06893;
Ledoit and Wolf, "A well-conditioned estimator for large-dimensional covariance matrices", 2004.

What we changed: the published fixed point for LogME can end away from the maximum, and takes the wrong number of
dimensions when there are more features than examples or when some are copies of others (4.81 for -0.14). Here the
noise is profiled out and what remains, a function of one variable for each target, is maximised over its whole range.
Letters: N examples, D features, R directions of the features, C classes or target columns, J strengths.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh_tridiagonal, lapack

from transfuse.core.errors import DataError, UsageError
from transfuse.probing.moments import Moments, reshifted

Array = NDArray[np.float64]

_NEGLIGIBLE = 1e-12
"""Eigenvalues below this share of the largest one are rounding, not signal."""
_EXPLAINED = 1e-13
"""Least share of a target that is left over: a target that the features give exactly has infinite evidence."""
_GRID = 512
_BEYOND = 1e10
"""How far the strengths tried reach beyond the smallest and the largest eigenvalue."""
_CONDITION = 1e-9
"""Reciprocal condition number above which a Cholesky factor keeps eight digits of a score."""
_ROWS = 8192


def logme(moments: Moments) -> float:
    """Mean over targets of the logarithm of the maximum evidence, per example, of linear regression without intercept.

    For each target t the marginal likelihood of t ~ Normal(0, (I + x x' / strength) / precision) is maximised over
    both numbers. Features are taken as they are: LogME depends on where their zero lies. Targets that are zero
    throughout (a class without examples) are left out. Weights count as repeats of an example.

    Raises:
        DataError: No target has a value other than zero.
    """
    raw = reshifted(moments, np.zeros_like(moments.shift_D))
    known = raw.target_squares_C > 0
    if not known.any():
        raise DataError("LogME needs a target that is not zero throughout, but there is none: give labelled examples.")
    squares_C = raw.target_squares_C[known]
    values_R, turned_RC = _turned(raw.gram_DD, raw.cross_DC[:, known], raw.rows)
    explained_RC = turned_RC**2 / values_R[:, None]
    left_C = np.maximum(squares_C - explained_RC.sum(axis=0), _EXPLAINED * squares_C)
    if len(values_R) >= max(raw.rows, raw.weight):
        left_C = np.zeros_like(left_C)  # as many directions as examples: nothing is left, and the evidence is finite
    return float(_best_evidence(values_R, explained_RC, left_C, raw.weight).mean())


def h_score(moments: Moments, *, shrink: float | None = None) -> float:
    """tr(covariance of features⁻¹ · covariance of their class means): 0..C-1, more is better.

    Args:
        moments: Of one-hot targets.
        shrink: None for the plain score. 0..1: how far the covariance is drawn towards a multiple of the identity,
            and with which weight the class means are taken back; see `ledoit_wolf`.

    Raises:
        UsageError: Targets that are not one-hot, or a `shrink` outside 0..1.
        DataError: Fewer than 2 examples.
    """
    _check(moments, shrink)
    present = moments.target_sum_C > 0
    counts_C = moments.target_sum_C[present]
    n = moments.weight
    scatter_DD = moments.gram_DD - np.outer(moments.sum_D / n, moments.sum_D)
    between_DC = (moments.cross_DC[:, present] - np.outer(moments.sum_D / n, counts_C)) / np.sqrt(counts_C)
    if shrink is None:
        return _whitened(scatter_DD, between_DC)
    towards = shrink * float(np.trace(scatter_DD)) / len(scatter_DD)
    scatter_DD *= 1.0 - shrink
    scatter_DD[np.diag_indices(len(scatter_DD))] += towards
    # the authors divide the class means' covariance by N - 1 and the features' by N
    return (1.0 - shrink) * n / (n - 1.0) * _whitened(scatter_DD, between_DC)


def ledoit_wolf(x_ND: np.ndarray, moments: Moments) -> float:
    """How far to shrink the covariance of these rows, 0..1: the optimum of Ledoit and Wolf.

    `moments` are those of the same rows, each of weight 1. One more pass over the rows: fourth powers are no part of
    the statistics.
    """
    if x_ND.shape != (moments.rows, len(moments.sum_D)):
        raise UsageError(
            f"`x` must be the rows of the statistics, ({moments.rows}, {len(moments.sum_D)}), but is {x_ND.shape}."
        )
    n, d = x_ND.shape
    mean_D = moments.shift_D + moments.sum_D / moments.weight
    fourth = 0.0
    for start in range(0, n, _ROWS):
        centred = x_ND[start : start + _ROWS].astype(np.float64) - mean_D
        fourth += float((np.einsum("nd,nd->n", centred, centred) ** 2).sum())
    covariance_DD = (moments.gram_DD - np.outer(moments.sum_D / n, moments.sum_D)) / n
    squares = float(np.einsum("de,de->", covariance_DD, covariance_DD))
    distance = squares - float(np.trace(covariance_DD)) ** 2 / d  # to the nearest multiple of the identity
    noise = min((fourth / n - squares) / n, distance)
    return max(noise / distance, 0.0) if noise > 0 else 0.0


def _turned(gram_DD: Array, right_DC: Array, rows: int) -> tuple[Array, Array]:
    """Eigenvalues (R,), and the right-hand sides in their eigenvectors; without those that are rounding.

    By way of the tridiagonal form, so that the eigenvectors themselves are never turned back: half the time.
    """
    d = len(gram_DD)
    reflectors, diagonal, off, tau, _ = lapack.dsytrd(gram_DD, lower=1, lwork=64 * d)
    values_D, vectors_DD = eigh_tridiagonal(diagonal, off)
    turned_DC = right_DC.copy(order="F")
    if d > 1:  # the reflectors leave the first row alone
        below = np.asfortranarray(reflectors[1:, :-1])
        turned_DC[1:] = lapack.dormqr("L", "T", below, tau, turned_DC[1:], 64 * turned_DC.shape[1])[0]
    # a negative eigenvalue tells how far rounding (of float32 sums, say) reaches
    least = max(_NEGLIGIBLE * max(values_D[-1], 0.0), -4.0 * values_D[0], 0.0)
    kept = values_D > least
    kept[: max(d - rows, 0)] = False
    return values_D[kept], vectors_DD[:, kept].T @ turned_DC


def _best_evidence(values_R: Array, explained_RC: Array, left_C: Array, n: float) -> Array:
    """The greatest log evidence per example of each target (C,), over all strengths: a grid, then Newton's method."""
    edges = np.log([values_R.min(), values_R.max()]) if len(values_R) else np.zeros(2)
    grid_J, step = np.linspace(
        edges[0] - np.log(_BEYOND), edges[1] + np.log(_BEYOND), _GRID, retstep=True, dtype=np.float64
    )
    ratio_JR = np.exp(np.log(values_R) - grid_J[:, None])  # eigenvalue / strength
    noise_JC = (1.0 / (1.0 + ratio_JR)) @ explained_RC + left_C
    evidence_JC = _evidence(noise_JC, np.log1p(ratio_JR).sum(axis=1)[:, None], n)
    best_C = evidence_JC.argmax(axis=0)
    start_C = grid_J[best_C]
    at_C = start_C.copy()
    for _ in range(8):
        move_C = _newton(np.log(values_R)[:, None] - at_C, explained_RC, left_C, n)
        at_C = np.clip(at_C + move_C, start_C - step, start_C + step)
    ratio_RC = np.exp(np.log(values_R)[:, None] - at_C)
    noise_C = (explained_RC / (1.0 + ratio_RC)).sum(axis=0) + left_C
    return np.maximum(_evidence(noise_C, np.log1p(ratio_RC).sum(axis=0), n), evidence_JC.max(axis=0))


def _evidence(noise: Array, log_volume: Array, n: float) -> Array:
    """Log evidence per example: `noise` is n times the profiled variance, `log_volume` = log|I + x x' / strength|."""
    return -0.5 * (np.log(2.0 * np.pi) + 1.0 + np.log(noise / n) + log_volume / n)


def _newton(log_ratio_RC: Array, explained_RC: Array, left_C: Array, n: float) -> Array:
    """Newton's step in the logarithm of the strength, (C,); 0 where the evidence is not concave."""
    free_RC = 1.0 / (1.0 + np.exp(-log_ratio_RC))  # share of a direction that the penalty leaves free
    bend_RC = free_RC * (1.0 - free_RC)
    noise_C = (explained_RC * (1.0 - free_RC)).sum(axis=0) + left_C
    first_C = (explained_RC * bend_RC).sum(axis=0) / noise_C
    second_C = (explained_RC * bend_RC * (2.0 * free_RC - 1.0)).sum(axis=0) / noise_C - first_C**2
    slope_C = 0.5 * (free_RC.sum(axis=0) - n * first_C)
    curvature_C = -0.5 * (n * second_C + bend_RC.sum(axis=0))
    concave_C = curvature_C < 0
    return np.where(concave_C, -slope_C / np.where(concave_C, curvature_C, 1.0), 0.0)


def _whitened(scatter_DD: Array, between_DC: Array) -> float:
    """tr(between' · scatter⁺ · between), on features of equal variance: the score does not depend on units."""
    scale_D = np.sqrt(np.maximum(scatter_DD.diagonal(), 0.0))
    varies = scale_D > 0
    if not varies.any():
        return 0.0
    # the product is a copy, which LAPACK may overwrite
    correlation_DD = scatter_DD[np.ix_(varies, varies)] / scale_D[varies, None] / scale_D[varies]
    between_DC = between_DC[varies] / scale_D[varies, None]
    factor_DD, failed = lapack.dpotrf(correlation_DD, lower=0)
    norm = float(np.abs(correlation_DD).sum(axis=0).max())
    if not failed and lapack.dpocon(factor_DD, norm)[0] > _CONDITION:
        return float((lapack.dtrtrs(factor_DD, between_DC, trans=1)[0] ** 2).sum())
    values_R, turned_RC = _turned(correlation_DD, between_DC, len(correlation_DD))
    return float((turned_RC**2 / values_R[:, None]).sum())


def _check(moments: Moments, shrink: float | None) -> None:
    total = float(moments.target_sum_C.sum())
    memberships = np.allclose(moments.target_sum_C, moments.target_squares_C, rtol=1e-6)
    if not memberships or abs(total - moments.weight) > 1e-6 * moments.weight:
        raise UsageError(
            "`moments` must hold one-hot targets, but they do not sum to 1 in every row: "
            "the H-score compares classes, use `logme` for labels or values."
        )
    if shrink is not None and not 0.0 <= shrink <= 1.0:
        raise UsageError(f"`shrink` must lie in 0..1, but is {shrink}: see `ledoit_wolf`.")
    if moments.rows < 2:
        raise DataError(f"The H-score needs at least 2 examples, but there are {moments.rows}: label some more.")
