"""The coordinates in which both heads are fitted: standardised, then turned into the eigenvectors of the Gram matrix.

An L2 penalty does not see a rotation, so a head in these coordinates is the head in standardised ones; there the
whole ridge path is a division, and the Hessian of the logistic loss is almost diagonal. With fewer examples than
features only the N directions that the examples span matter (the representer theorem), found from the smaller Gram
matrix. Statistics come from the rows given and from no other ones.
Letters: N examples, D features, R directions kept (R <= min(N, D)), C classes, J strengths.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transfuse.probing.moments import Moments, covariance_DD, mean_D
from transfuse.probing.summing import pilot_units

Array = NDArray[np.float64]

_PIECE = 1024
_NEGLIGIBLE = 1e-11
"""Eigenvalues below this share of the largest one are rounding, not signal."""


@dataclass(frozen=True, kw_only=True)
class Basis:
    """A standardisation and a rotation, made from training rows."""

    mean_D: Array
    scale_D: Array
    """Standard deviations; 1 where a feature is constant, whose centred value is then 0."""
    vectors_DR: Array
    values_R: Array
    """Eigenvalues of the correlation matrix, largest first; they sum to the number of features that vary."""


def make_basis(x_ND: Array, weights_N: Array) -> Basis:
    """The basis of weighted rows; weights are not negative and have a positive sum."""
    share_N = weights_N / weights_N.sum()
    mean_D = share_N @ x_ND
    z_ND = x_ND - mean_D
    deviation_D = np.sqrt(share_N @ z_ND**2)
    magnitude_D = np.abs(x_ND).max(axis=0, initial=0.0, where=share_N[:, None] > 0)
    varies_D = deviation_D > 1e-10 * magnitude_D
    scale_D = np.where(varies_D, deviation_D, 1.0)
    z_ND = np.where(varies_D, z_ND, 0.0) / scale_D * np.sqrt(share_N)[:, None]
    values_R, vectors_DR = eigenvectors(z_ND)
    return Basis(mean_D=mean_D, scale_D=scale_D, vectors_DR=vectors_DR, values_R=values_R)


def project(basis: Basis, x_ND: Array) -> Array:
    """Rows in the basis, (N, R)."""
    return (x_ND - basis.mean_D) @ (basis.vectors_DR / basis.scale_D[:, None])


def unfold(basis: Basis, slope_RC: Array, intercept_C: Array) -> tuple[Array, Array]:
    """Weights (C, D) and bias (C,) on raw features from a linear function of the basis."""
    weight_CD = (basis.vectors_DR @ slope_RC).T / basis.scale_D
    return weight_CD, intercept_C - weight_CD @ basis.mean_D


def deviations_D(m: Moments) -> Array:
    """Standard deviations of the features, from statistics; 0 where a feature does not vary but for rounding."""
    rounding = 1e-12 if m.units is None else 1e-6
    return _deviations(np.diag(covariance_DD(m)), mean_D(m), rounding * (m.sum_D / m.weight) ** 2)


def row_deviations_D(x_ND: np.ndarray, weights_N: Array) -> Array:
    """The same from rows, where their products are not needed."""
    shift_D, _ = pilot_units(x_ND, np.zeros((len(x_ND), 0)), weights_N, None, None)
    sum_D, squares_D = np.zeros_like(shift_D), np.zeros_like(shift_D)
    for start in range(0, len(x_ND), _PIECE):
        at = slice(start, start + _PIECE)
        z_nD = np.subtract(x_ND[at], shift_D, dtype=np.float64)
        sum_D += weights_N[at] @ z_nD
        np.square(z_nD, out=z_nD)
        squares_D += weights_N[at] @ z_nD
    away_D = sum_D / weights_N.sum()
    return _deviations(squares_D / weights_N.sum() - away_D**2, shift_D + away_D, 1e-12 * away_D**2)


def _deviations(variance_D: Array, mean_D: Array, rounding_D: Array) -> Array:
    varies_D = variance_D > np.maximum((1e-10 * mean_D) ** 2, rounding_D)
    return np.sqrt(np.where(varies_D, variance_D, 0.0))


def eigenvectors(z_ND: Array) -> tuple[Array, Array]:
    """Eigenvalues (R,), largest first, and orthonormal eigenvectors (D, R) of z'z, from the smaller Gram matrix."""
    n, d = z_ND.shape
    dual = n < d
    values, vectors = np.linalg.eigh(z_ND @ z_ND.T if dual else z_ND.T @ z_ND)
    kept = values > _NEGLIGIBLE * max(values[-1], 0.0) if len(values) else values > 0
    values_R, vectors_R = values[kept][::-1], vectors[:, kept][:, ::-1]
    if dual:
        vectors_R = (z_ND.T @ vectors_R) / np.sqrt(values_R)
    return np.ascontiguousarray(values_R), np.ascontiguousarray(vectors_R)
