"""Features of a source population made to count like the target's: by weights, or by moving them.

Weights are the ratio of densities by a classifier of the two populations (Bickel et al. 2009; Shimodaira 2000). CORAL
whitens the source's features and colours them as the target's are (Sun, Feng, Saenko, arXiv 1511.05547); instead of
adding the identity, covariances are shrunk by the oracle approximating shrinkage (Chen et al., arXiv 0907.4698), which
needs no more than they and the number of rows: sums over rows suffice.
Letters: N rows of the source, M of the target, D features.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transfuse.core.errors import DataError
from transfuse.probing.heads import fit_head
from transfuse.probing.moments import Moments, covariance_DD, mean_D, moments

Array = NDArray[np.float64]
MOST = 10.0
"""Largest weight of a source row, in units of the mean one: a few rows must not be all that is learnt from."""
FEWEST = 20
"""Rows of each population below which they cannot be told apart."""


@dataclass(frozen=True, kw_only=True)
class Ratio:
    """How much each row of the source is like the target's."""

    weights_N: Array
    """Of mean 1, at most about `MOST`."""
    effective: float
    """Rows of equal weight that would say as much (Kish): sum(w)² / sum(w²)."""
    odds: Array
    """Out-of-fold log-odds of being the target's: of the source's rows, then of the target's."""


def density_ratio(source_ND: np.ndarray, target_MD: np.ndarray, *, seed: int = 0) -> Ratio:
    """The target's density over the source's at each row of the source, by out-of-fold odds, clipped.

    Equal weights where either population has fewer than `FEWEST` rows.
    """
    n, m = len(source_ND), len(target_MD)
    if min(n, m) < FEWEST:
        return Ratio(weights_N=np.ones(n), effective=float(n), odds=np.zeros(n + m))
    x_ND = np.concatenate([source_ND, target_MD])
    domain_N = np.repeat([0, 1], [n, m])
    head = fit_head(x_ND, domain_N, "single-label", method="ridge", classes=2, seed=seed)
    odds = (head.out_of_fold_NC[:, 1] - head.out_of_fold_NC[:, 0]) / head.temperature
    ratio_N = np.exp(np.clip(odds[:n] + np.log(n / m), -20, 20))
    ratio_N = np.minimum(ratio_N / ratio_N.mean(), MOST)
    weights_N = ratio_N / ratio_N.mean()
    return Ratio(weights_N=weights_N, effective=float(weights_N.sum() ** 2 / (weights_N**2).sum()), odds=odds)


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """An affine map of features: `x @ matrix_DD + shift_D`."""

    matrix_DD: Array
    shift_D: Array
    shrinkage: tuple[float, float]
    """0..1: how far the source's and the target's covariance were shrunk."""

    def __call__(self, x_ND: np.ndarray) -> Array:
        """The rows, moved."""
        return x_ND.astype(np.float64) @ self.matrix_DD + self.shift_D


def coral(source: Moments, target: Moments) -> Alignment:
    """The map that gives the source's features the target's mean and (shrunk) covariance.

    Raises `DataError` where a population has fewer than 2 rows.
    """
    if min(source.rows, target.rows) < 2:
        raise DataError(
            f"CORAL needs 2 rows of each population, but the source has {source.rows} and the target {target.rows}."
        )
    covariances = [covariance_DD(source), covariance_DD(target)]
    scale_D = np.sqrt((np.diag(covariances[0]) + np.diag(covariances[1])) / 2)  # features in one unit, then shrunk
    scale_D[scale_D <= 1e-12 * max(float(scale_D.max()), 1e-300)] = 1.0
    shrunk = [oas(c / np.outer(scale_D, scale_D), m.rows) for c, m in zip(covariances, (source, target), strict=True)]
    white_DD, colour_DD = _power(shrunk[0][0], -0.5), _power(shrunk[1][0], 0.5)
    matrix_DD = (white_DD @ colour_DD) * scale_D / scale_D[:, None]
    shift_D = mean_D(target) - mean_D(source) @ matrix_DD
    return Alignment(matrix_DD=matrix_DD, shift_D=shift_D, shrinkage=(shrunk[0][1], shrunk[1][1]))


def coral_of(source_ND: np.ndarray, target_MD: np.ndarray) -> Array:
    """The source's rows with the target's mean and covariance."""
    sums = [moments(x, np.zeros((len(x), 1)), exact=True) for x in (source_ND, target_MD)]
    return coral(sums[0], sums[1])(source_ND)


def oas(covariance: Array, rows: int) -> tuple[Array, float]:
    """The covariance (D, D), shrunk towards its mean variance, and how far (0..1)."""
    size = len(covariance)
    mean = np.trace(covariance) / size
    squares, square = float(np.mean(covariance**2)), float(mean**2)
    most = (rows + 1) * (squares - square / size)
    shrinkage = 1.0 if most <= 0 else min((squares + square) / most, 1.0)
    shrunk = (1 - shrinkage) * covariance
    shrunk[np.diag_indices(size)] += shrinkage * mean
    return shrunk, float(shrinkage)


def _power(matrix_DD: Array, exponent: float) -> Array:
    """Of a symmetric positive matrix; directions without any variance keep none, and get none."""
    values_D, vectors_DD = np.linalg.eigh(matrix_DD)
    there = values_D > 1e-12 * max(float(values_D.max()), 1e-300)
    powers_D = np.where(there, np.where(there, values_D, 1.0) ** exponent, 0.0)
    return (vectors_DD * powers_D) @ vectors_DD.T
