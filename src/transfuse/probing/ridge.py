"""Ridge regression: the whole path of strengths under cross-validation, from one reading of the features.

Hoerl and Kennard, "Ridge Regression", Technometrics 1970. For classification it is fitted to the one-hot targets and
its out-of-fold outputs are calibrated by a temperature: "Prevalidated Ridge Regression" (Dempster, Webb, Schmidt,
2024, arXiv:2401.15610). Siblings: `logistic.py`, which has another loss in the same metric; `loo.py`, which leaves out
one example instead of a fold.

For rows x_n with weights w that sum to W it minimises, for every column c,
    sum_n w_n / W (t_nc - b_c - x_n·v_c)^2 + strength ||scale ∘ v_c||^2
where `scale` is the standard deviation of each feature over ALL rows of positive weight. So one penalty is meant in
every fold; a held-out row says to the others how far features reach, never which target it has.
The statistics of the other folds are those of all rows less those of the fold (see `moments.py`): exact, not refitted.
Letters: N examples, D features, R directions, C targets, J strengths, K folds.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transfuse.probing.basis import Basis, deviations_D, make_basis, project, unfold
from transfuse.probing.moments import (
    Moments,
    added,
    covariance_DD,
    cross_covariance_DC,
    moments,
    pilot,
    subtracted,
    target_mean_C,
)
from transfuse.probing.summing import shifted
from transfuse.probing.tridiagonal import solve_path

Array = NDArray[np.float64]

STRENGTHS: tuple[float, ...] = tuple(float(s) for s in np.logspace(3, -6, 19))
"""Strongest first. In the metric the mean eigenvalue is 1, so the range does not depend on units."""

_EXACT_UP_TO = 1e9
"""Products N D² up to which everything is float64: less than 0.1 s, and 12 digits instead of 6."""
_PIECE = 1 << 19
"""Features of a piece of rows, when a head is applied."""


@dataclass(frozen=True, kw_only=True)
class RidgeFolds:
    """For every fold, the path of heads that were fitted without it; and the statistics of all rows."""

    strengths: tuple[float, ...]
    x_ND: np.ndarray
    """What the heads apply to: the features, or with fewer examples than features, their coordinates."""
    fold_N: np.ndarray
    total: Moments
    scale_D: Array
    slopes_KDJC: tuple[np.ndarray, ...]
    """On x less the shift of `total`; empty where no other row has a weight."""
    intercepts_KJC: tuple[np.ndarray, ...]
    basis: Basis | None
    """What leads from coordinates back to features."""


def ridge_cv(
    x_ND: np.ndarray,
    targets_NC: np.ndarray,
    weights_N: np.ndarray,
    fold_N: np.ndarray,
    *,
    strengths: tuple[float, ...] = STRENGTHS,
    exact: bool | None = None,
) -> RidgeFolds:
    """Fit every strength without each fold; `out_of_fold` and `ridge_fit` give what comes of it.

    Args:
        x_ND: Finite features; float32 may be memory-mapped and is read in pieces, twice.
        targets_NC: Columns to be fitted.
        weights_N: Not negative, with a positive sum.
        fold_N: 0..K-1; with one fold there is nothing to hold out.
        exact: Float64 throughout, or sums of float32 products; None decides by size. See `resolved` for
            what is lost.
    """
    x_ND, basis = coordinates(x_ND, weights_N)
    exact = is_exact(x_ND) if exact is None else exact
    folds = int(fold_N.max()) + 1
    like = pilot(x_ND, targets_NC, weights_N)
    parts = [_fold(x_ND, targets_NC, weights_N, np.flatnonzero(fold_N == k), like, exact) for k in range(folds)]
    total = like
    for part in parts:
        total = added(total, part) if part is not parts[0] else part
    scale_D = metric_D(total, basis)
    solved = [path_of(subtracted(total, part), scale_D, strengths) for part in parts] if folds > 1 else []
    return RidgeFolds(
        strengths=strengths,
        x_ND=x_ND,
        fold_N=fold_N,
        total=total,
        scale_D=scale_D,
        slopes_KDJC=tuple(slopes for slopes, _ in solved),
        intercepts_KJC=tuple(intercepts for _, intercepts in solved),
        basis=basis,
    )


def coordinates(x_ND: np.ndarray, weights_N: np.ndarray) -> tuple[np.ndarray, Basis | None]:
    """With fewer examples than features, the examples in the directions that they span (the dual); else as they are."""
    if len(x_ND) >= x_ND.shape[1]:
        return x_ND, None
    basis = make_basis(np.asarray(x_ND, dtype=np.float64), weights_N)
    return project(basis, x_ND), basis


def is_exact(x_ND: np.ndarray) -> bool:
    """Whether float64 throughout is affordable."""
    return len(x_ND) * x_ND.shape[1] ** 2 <= _EXACT_UP_TO


def metric_D(total: Moments, basis: Basis | None) -> Array:
    """What the penalty measures features in: standard deviations, which coordinates of a basis already have in them.

    0 for a feature that does not vary: it gets no weight.
    """
    return deviations_D(total) if basis is None else np.ones(len(total.shift_D))


def path_of(m: Moments, scale_D: Array, strengths: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Slopes (D, J, C) on x less the shift, and intercepts (J, C), from statistics alone; 0 without any weight."""
    (d, c), j = m.cross_DC.shape, len(strengths)
    if m.weight <= 0:
        return np.zeros((d, j, c)), np.zeros((j, c))
    inverse_D = np.divide(1.0, scale_D, out=np.zeros(d), where=scale_D > 0)
    s_DD = covariance_DD(m)
    s_DD *= inverse_D[:, None]
    s_DD *= inverse_D
    b_DC = cross_covariance_DC(m) * inverse_D[:, None]
    slopes_DJC = solve_path(s_DD, b_DC, resolved(float(np.linalg.norm(s_DD)), strengths, m), exact=m.units is None)
    slopes_DJC *= inverse_D[:, None, None].astype(slopes_DJC.dtype)
    away_D = m.sum_D / m.weight
    return slopes_DJC, target_mean_C(m) - np.einsum("d,djc->jc", away_D, slopes_DJC)


def resolved(norm: float, strengths: tuple[float, ...], m: Moments) -> tuple[float, ...]:
    """The strengths, raised to the rounding of the correlation matrix (Frobenius norm `norm`) where they are below it.

    Sums of float32 products do not say what a weaker penalty gives: the smallest eigenvalues are noise. Out-of-fold
    answers to targets of unit size are then within 1e-5 of float64 throughout for strengths of 1e-3 and above, and
    within 2e-4 below, also for features of very different sizes, 20 deviations away from 0, or linearly dependent.
    """
    floor = (2.0**-50 if m.units is None else 2.0**-24) * norm
    return tuple(max(strength, floor) for strength in strengths)


def out_of_fold(path: RidgeFolds, which: slice = slice(None)) -> np.ndarray:
    """What the heads without its fold answer for every row, (J, N, C) for the strengths chosen; 0 without folds.

    A view of (N, J, C), which is how it lies in memory.
    """
    n, j, c = len(path.x_ND), len(path.strengths[which]), len(path.total.target_sum_C)
    exact = path.total.units is None
    held_NJC: np.ndarray = np.zeros((n, j, c), dtype=np.float64 if exact else np.float32)
    for fold, (slopes_DJC, intercepts_JC) in enumerate(zip(path.slopes_KDJC, path.intercepts_KJC, strict=True)):
        weights_DP = slopes_DJC[:, which].reshape(len(slopes_DJC), -1)
        bias_P = intercepts_JC[which].reshape(-1).astype(held_NJC.dtype)
        rows = np.flatnonzero(path.fold_N == fold)
        size = max(256, _PIECE // max(len(weights_DP), 1))
        buffer: np.ndarray = np.empty((size, len(weights_DP)), dtype=held_NJC.dtype)
        for start in range(0, len(rows), size):
            at = rows[start : start + size]
            answers = shifted(path.x_ND, at, path.total.shift_D, buffer[: len(at)]) @ weights_DP
            answers += bias_P
            held_NJC[at] = answers.reshape(len(at), j, c)
    return held_NJC.transpose(1, 0, 2)


def ridge_fit(path: RidgeFolds, strength: float) -> tuple[Array, Array]:
    """Weights (C, D) and bias (C,) on raw features, from all rows."""
    slopes_DJC, intercepts_JC = path_of(path.total, path.scale_D, (strength,))
    slope_DC, bias_C = slopes_DJC[:, 0].astype(np.float64), intercepts_JC[0].astype(np.float64)
    bias_C = bias_C - path.total.shift_D @ slope_DC
    return (slope_DC.T.copy(), bias_C) if path.basis is None else unfold(path.basis, slope_DC, bias_C)


def _fold(
    x_ND: np.ndarray, targets_NC: np.ndarray, weights_N: np.ndarray, rows: np.ndarray, like: Moments, exact: bool
) -> Moments:
    return moments(x_ND, targets_NC, weights_N, rows=rows, like=like, exact=exact)
