"""Leave-one-out ridge regression in closed form, for a whole path of strengths.

Allen, "The Relationship between Variable Selection and Data Augmentation and a Method for Prediction" (PRESS),
Technometrics 1974: the head fitted without row n answers it with (p - h t) / (1 - h), where p is what the head fitted
to all rows answers, t its target and h its leverage. Scale and total penalty stay those of all rows, as in
scikit-learn's RidgeCV. Objective and metric: `ridge.py`.

The answers for all strengths lie close to a space of fewer dimensions than there are strengths (1 / (value + strength)
is a smooth family), so only as many products with the features are made as float32 could tell apart.
Letters: N examples, D features, R directions, C targets, J strengths, Q products; n rows of a piece.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from transfuse.core.errors import DataError
from transfuse.probing.basis import Basis
from transfuse.probing.moments import Moments, covariance_DD, cross_covariance_DC, moments, target_mean_C
from transfuse.probing.ridge import STRENGTHS, coordinates, is_exact, metric_D, resolved
from transfuse.probing.summing import shifted

Array = NDArray[np.float64]
Precision = Literal["float32", "bfloat16"]

_ANSWERS = 1 << 20
"""Answers that are held at a time."""
_NEGLIGIBLE = 3e-7
"""Part of the answers' norm that is not worth a product."""


@dataclass(frozen=True, kw_only=True)
class Spectrum:
    """The eigenvectors of the correlation matrix, in which every strength is a division."""

    x_ND: np.ndarray
    """Features, or with fewer examples than features their coordinates."""
    targets_NC: np.ndarray
    weights_N: np.ndarray
    total: Moments
    values_R: Array
    vectors_DR: Array
    """Columns apply to x less its mean."""
    moment_RC: Array
    """Covariance of directions and targets."""
    basis: Basis | None


@dataclass(frozen=True, kw_only=True)
class LeaveOneOut:
    """How each strength does on rows that it was not fitted to."""

    strengths: tuple[float, ...]
    squared_error_J: Array
    """Weighted mean over rows and columns."""
    accuracy_J: Array
    """Weighted share of rows whose largest answer is for their class; nan unless targets are one-hot."""


def spectrum(x_ND: np.ndarray, targets_NC: np.ndarray, weights_N: np.ndarray, *, exact: bool | None = None) -> Spectrum:
    """Read the features once and decompose.

    Args:
        x_ND: Finite features; float32 may be memory-mapped.
        targets_NC: Columns to be fitted.
        weights_N: Not negative, with a positive sum; scikit-learn's `sample_weight`.
        exact: As in `ridge.ridge_cv`.
    """
    if not weights_N.sum() > 0:
        raise DataError("Example weights must not all be 0: give at least two examples a positive weight.")
    x_ND, basis = coordinates(x_ND, weights_N)
    total = moments(x_ND, targets_NC, weights_N, exact=is_exact(x_ND) if exact is None else exact)
    scale_D = metric_D(total, basis)
    inverse_D = np.divide(1.0, scale_D, out=np.zeros_like(scale_D), where=scale_D > 0)
    s_DD = covariance_DD(total) * inverse_D[:, None] * inverse_D
    values_R, vectors_DR = np.linalg.eigh(s_DD) if basis is None else (basis.values_R, np.eye(len(scale_D)))
    vectors_DR = vectors_DR * inverse_D[:, None]
    return Spectrum(
        x_ND=x_ND,
        targets_NC=targets_NC,
        weights_N=np.asarray(weights_N, dtype=np.float64),
        total=total,
        values_R=np.maximum(values_R, 0.0),
        vectors_DR=vectors_DR,
        moment_RC=vectors_DR.T @ cross_covariance_DC(total),
        basis=basis,
    )


def leave_one_out(
    of: Spectrum, strengths: tuple[float, ...] = STRENGTHS, *, precision: Precision = "float32"
) -> LeaveOneOut:
    """Squared error and accuracy of every strength, each row answered by the head fitted without it.

    `bfloat16` rounds the factors of the large product to 8 bits, which is faster where the processor has such products;
    it shifts single answers by about 0.3 %. Problems that are exact stay float64.
    """
    products_RQC, mixing_QJ, inverse_RJ = _compressed(of, strengths)
    q, j, c = len(mixing_QJ), len(strengths), of.targets_NC.shape[1]
    products: np.ndarray = np.ascontiguousarray(products_RQC.reshape(len(products_RQC), q * c).T, dtype=_dtype(of))
    squares_J, right_J = np.zeros(j), np.zeros(j)
    one_hot = _one_hot(of.targets_NC)
    size = max(64, _ANSWERS // max(j * c, 1))
    for start in range(0, len(of.x_ND), size):
        at = slice(start, min(start + size, len(of.x_ND)))
        z_Rn = _directions(of, at)
        share_n = of.weights_N[at] / of.total.weight
        mixed = _product(products, z_Rn, precision).reshape(q, -1)
        answers_JCn = (mixing_QJ.T.astype(mixed.dtype) @ mixed).reshape(j, c, -1)
        answers_JCn += target_mean_C(of.total).astype(mixed.dtype)[:, None]
        np.square(z_Rn, out=z_Rn)
        leverage_Jn = (inverse_RJ.T.astype(z_Rn.dtype) @ z_Rn + 1.0) * share_n
        squares, right = _judged(answers_JCn, of.targets_NC[at], leverage_Jn, share_n, one_hot)
        squares_J += squares
        right_J += right
    accuracy_J = right_J if one_hot else np.full(j, np.nan)
    return LeaveOneOut(strengths=strengths, squared_error_J=squares_J / max(c, 1), accuracy_J=accuracy_J)


def left_out(of: Spectrum, strength: float) -> Array:
    """What the head fitted without it answers for each row, (N, C), at one strength."""
    (strength,) = resolved(float(np.linalg.norm(of.values_R)), (strength,), of.total)
    slopes_RC: np.ndarray = (of.moment_RC / (of.values_R + strength)[:, None]).astype(_dtype(of))
    answers_NC = np.empty(of.targets_NC.shape)
    size = max(64, _ANSWERS // max(of.x_ND.shape[1], 1))
    for start in range(0, len(of.x_ND), size):
        at = slice(start, min(start + size, len(of.x_ND)))
        z_Rn = _directions(of, at)
        leverage_n = ((z_Rn**2).T @ (1.0 / (of.values_R + strength)) + 1.0) * of.weights_N[at] / of.total.weight
        seen_nC = z_Rn.T @ slopes_RC + target_mean_C(of.total)
        answers_NC[at] = (seen_nC - leverage_n[:, None] * of.targets_NC[at]) / _rest(leverage_n)[:, None]
    return answers_NC


def _compressed(of: Spectrum, strengths: tuple[float, ...]) -> tuple[Array, Array, Array]:
    """Slopes (R, Q, C) and (Q, J), whose product is the slopes of every strength; and 1 / (value + strength).

    The singular vectors of (values + strengths)^-1, each row weighted by how much its direction says of the targets:
    so what is left out is bounded as a part of the answers.
    """
    strengths = resolved(float(np.linalg.norm(of.values_R)), strengths, of.total)
    inverse_RJ = 1.0 / (of.values_R[:, None] + np.asarray(strengths))
    if of.total.units is None:
        return of.moment_RC[:, None, :] * inverse_RJ[:, :, None], np.eye(len(strengths)), inverse_RJ
    weight_R = np.sqrt(of.values_R * (of.moment_RC**2).sum(axis=1))
    _, size_Q, mixing_QJ = np.linalg.svd(weight_R[:, None] * inverse_RJ, full_matrices=False)
    mixing_QJ = mixing_QJ[size_Q > _NEGLIGIBLE * size_Q.max(initial=0.0)]
    return (inverse_RJ @ mixing_QJ.T)[:, :, None] * of.moment_RC[:, None, :], mixing_QJ, inverse_RJ


def _directions(of: Spectrum, at: slice) -> np.ndarray:
    """Rows in the eigenvectors, (R, n)."""
    dtype = _dtype(of)
    z_nD: np.ndarray = np.empty((at.stop - at.start, of.x_ND.shape[1]), dtype=dtype)
    shifted(of.x_ND, at, of.total.shift_D, z_nD)
    z_nD -= (of.total.sum_D / of.total.weight).astype(dtype)
    return of.vectors_DR.T.astype(dtype) @ z_nD.T


def _product(a_PR: np.ndarray, z_Rn: np.ndarray, precision: Precision) -> np.ndarray:
    if precision == "float32" or a_PR.dtype == np.float64:
        return a_PR @ z_Rn
    a, z = (torch.from_numpy(part).to(torch.bfloat16) for part in (a_PR, z_Rn))
    return (a @ z).float().numpy()


def _judged(
    answers_JCn: np.ndarray, targets_nC: np.ndarray, leverage_Jn: Array, share_n: Array, one_hot: bool
) -> tuple[Array, Array]:
    """Sums over the piece of the weighted squared errors and of the weighted right answers, (J,) each."""
    rest_Jn = _rest(leverage_Jn)
    if not one_hot:
        answers_JCn -= targets_nC.T.astype(answers_JCn.dtype)
        return _squares(answers_JCn, rest_Jn, share_n), np.zeros(len(answers_JCn))
    true_n, place_n = targets_nC.argmax(axis=1), np.arange(len(targets_nC))
    answers_JCn[:, true_n, place_n] -= 1.0
    squares_J = _squares(answers_JCn, rest_Jn, share_n)
    # (p - h t) / (1 - h) orders the classes as p - h t does
    true_Jn = answers_JCn[:, true_n, place_n] + rest_Jn
    answers_JCn[:, true_n, place_n] = -np.inf
    return squares_J, (true_Jn > answers_JCn.max(axis=1)) @ share_n


def _squares(errors_JCn: np.ndarray, rest_Jn: Array, share_n: Array) -> Array:
    return (np.einsum("jcn,jcn->jn", errors_JCn, errors_JCn) / rest_Jn**2) @ share_n


def _rest(leverage: Array) -> Array:
    """1 - h; a row that alone decides its answer has h = 1 and an error of any size."""
    return np.maximum(1.0 - leverage, 1e-12)


def _one_hot(targets_NC: np.ndarray) -> bool:
    return bool(((targets_NC == 0) | (targets_NC == 1)).all() and (targets_NC.sum(axis=1) == 1).all())


def _dtype(of: Spectrum) -> type:
    return np.float64 if of.total.units is None else np.float32
