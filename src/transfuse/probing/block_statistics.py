"""Statistics of several blocks of features side by side, and ridge solutions from them: what the files on blocks share.

A block is the features of one source, or of one depth of it. Letters: N examples, D features of all blocks, B features
of one block, C targets.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import reduce

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from transfuse.core.errors import DataError, UsageError
from transfuse.probing.moments import Block, Moments, accumulate, added, mean_D, pilot

Array = NDArray[np.float64]

_ROWS = 8192
_CONSTANT = 1e-14
"""Share of the squared mean below which a variance is rounding of float32."""
_LEAST = {np.dtype(np.float32): 1e-4, np.dtype(np.float64): 1e-6}
GREATEST = 1e4


def fold_moments(
    features: Mapping[str, np.ndarray], targets_NC: np.ndarray, fold_N: np.ndarray, weights_N: np.ndarray | None = None
) -> tuple[Moments, ...]:
    """Statistics of each fold 0..K-1 over all blocks, in the order of `features`; rows are joined piece by piece.

    Args:
        features: (N, B) for each block by name; they may be memory-mapped.
    """
    for name, x_NB in features.items():
        if x_NB.ndim != 2 or len(x_NB) != len(fold_N):
            raise UsageError(
                f"`features` must have a row for each of the {len(fold_N)} examples, but those of {name!r} "
                f"are {x_NB.shape}: extract all blocks from the same examples."
            )
    like = pilot(*next(_pieces(features, targets_NC, weights_N, np.arange(len(fold_N)))))
    return tuple(
        accumulate(_pieces(features, targets_NC, weights_N, np.flatnonzero(fold_N == fold)), like=like)
        for fold in range(int(fold_N.max()) + 1)
    )


def whole(folds: Sequence[Moments]) -> Moments:
    """The statistics of all folds together."""
    if len(folds) < 2:
        raise UsageError(f"`folds` must be statistics of 2 folds or more, but is {len(folds)}: see `fold_moments`.")
    return reduce(added, folds)


def columns_of(widths: Mapping[str, int], features: int) -> dict[str, slice]:
    """Where each block's columns lie. Raises `UsageError` unless widths are positive and add up to `features`."""
    ends = np.cumsum([0, *widths.values()])
    if not widths or min(widths.values()) < 1 or ends[-1] != features:
        raise UsageError(
            f"`widths` must be positive and add up to the {features} features of the statistics, but is {dict(widths)}."
        )
    return {name: slice(int(a), int(b)) for name, a, b in zip(widths, ends[:-1], ends[1:], strict=True)}


def variance_D(moments: Moments) -> Array:
    """Variance of each feature, the unit of its penalty; 1 for a constant one, whose penalty then changes nothing."""
    centre_D = moments.sum_D / moments.weight
    variance_D = np.maximum(moments.gram_DD.diagonal() / moments.weight - centre_D**2, 0.0)
    return np.where(variance_D > _CONSTANT * mean_D(moments) ** 2, variance_D, 1.0)


def precision_of(moments: Moments) -> np.dtype:
    """Float32 for statistics that were summed in it: more would keep digits that are not there, at twice the time."""
    return np.dtype(np.float64 if moments.units is None else np.float32)


def least_strength(moments: Moments) -> float:
    """The weakest penalty that still outweighs the rounding of the statistics."""
    return _LEAST[precision_of(moments)]


def varying_C(moments: Moments) -> np.ndarray:
    """Which targets vary. Raises `DataError` when none does, or when there are fewer than 3 examples."""
    if moments.rows < 3 or not moments.weight > 0:
        raise DataError(
            f"Blocks are compared on 3 examples or more, but there are {moments.rows} "
            f"of weight {moments.weight:g}: label some more."
        )
    scatter_C = moments.target_squares_C - moments.target_sum_C**2 / moments.weight
    varies_C = scatter_C > 1e-10 * moments.target_squares_C
    if not varies_C.any():
        raise DataError("Blocks are compared by a target that varies, but none does: label at least two classes.")
    return varies_C


def scatter(m: Moments, dtype: np.dtype) -> np.ndarray:
    """Sum of squares and products of the features around their means, (D, D)."""
    scatter_DD = np.outer(m.sum_D / -m.weight, m.sum_D)
    scatter_DD += m.gram_DD
    return scatter_DD.astype(dtype, copy=False)


def right_sides(m: Moments) -> Array:
    """Sum of products of features and targets around their means, (D, C)."""
    return m.cross_DC - np.outer(m.sum_D, m.target_sum_C / m.weight)


def solved(scatter_DD: np.ndarray, right_DC: Array, penalty_D: Array) -> tuple[np.ndarray, Array]:
    """Upper Cholesky factor of scatter + diag(penalty), and the float64 solution for the right-hand sides.

    In float64 from the start where rounding makes the float32 matrix indefinite.
    """
    matrix_DD = scatter_DD.copy()
    matrix_DD[np.diag_indices(len(matrix_DD))] += penalty_D
    potrf = lapack.get_lapack_funcs("potrf", (matrix_DD,))
    # transposed, so that a C-ordered array is LAPACK's own
    factor_DD, failed = potrf(matrix_DD.T, lower=0, clean=0, overwrite_a=1)
    if failed and scatter_DD.dtype == np.float32:
        return solved(scatter_DD.astype(np.float64), right_DC, penalty_D)
    if failed:
        raise DataError(
            "The features' statistics must be those of real rows, but are no positive semi-definite matrix: "
            "sum them anew from the features."
        )
    return factor_DD, resolved(factor_DD, right_DC)


def resolved(factor_DD: np.ndarray, right_DC: Array) -> Array:
    """Another solution with the factor that `solved` gave."""
    potrs = lapack.get_lapack_funcs("potrs", (factor_DD,))
    return potrs(factor_DD, np.asfortranarray(right_DC, factor_DD.dtype), lower=0)[0].astype(np.float64)


def _pieces(
    features: Mapping[str, np.ndarray], targets_NC: np.ndarray, weights_N: np.ndarray | None, rows: np.ndarray
) -> Iterator[Block]:
    for start in range(0, len(rows), _ROWS):
        at = rows[start : start + _ROWS]
        x_nD = np.concatenate([x_NB[at] for x_NB in features.values()], axis=1)
        yield x_nD, targets_NC[at], None if weights_N is None else weights_N[at]
