"""Sums over blocks of rows for `moments.py`: where they start, what they are rounded to, and the products themselves.

Each block of 8,192 rows is copied in pieces that stay in the processor's cache, shifted, divided by its units and
weighted; the symmetric product (BLAS `syrk`, half the operations of a general one) is accumulated over the pieces.
Letters: N examples, D features, C targets.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas

from transfuse.core.errors import DataError

Array = NDArray[np.float64]

BLOCK = 8192
"""Rows whose products are summed in float32; a border of the definition, not of the speed."""
GRID = 2.0**20
"""Sums of blocks are multiples of one unit divided by this."""
_PILOT = 1024
"""Rows that decide the shift and the units."""
_PIECE = 1 << 19
"""Numbers of a piece (2 MB in float32)."""


@dataclass(frozen=True, kw_only=True)
class Units:
    """Powers of two near the sizes of what is summed."""

    features_D: Array
    targets_C: Array
    weight: float
    """Of the square root of a weight."""


@dataclass(frozen=True, kw_only=True)
class Sums:
    """See the fields of the same names in `moments.Moments`."""

    weight: float
    sum_D: Array
    gram_DD: Array
    target_sum_C: Array
    target_squares_C: Array
    cross_DC: Array


def fill_units(d: int, c: int) -> Units:
    """Units of 1."""
    return Units(features_D=np.ones(d), targets_C=np.ones(c), weight=1.0)


def pilot_units(
    x_ND: np.ndarray,
    targets_NC: np.ndarray,
    weights_N: np.ndarray | None,
    rows: np.ndarray | None,
    shift_D: np.ndarray | None,
) -> tuple[Array, Units]:
    """Shift and units from the first rows.

    The mean absolute value decides: an outlier among the first rows moves it little. A unit that is too small costs
    nothing but `order_free` at very many rows; one that is a thousand times too large would cost digits.
    """
    first = slice(0, _PILOT) if rows is None else rows[:_PILOT]
    x_nd, t_nc = np.asarray(x_ND[first], dtype=np.float64), np.asarray(targets_NC[first], dtype=np.float64)
    w_n = np.ones(len(x_nd)) if weights_N is None else weights_N[first]
    counts = (w_n > 0) & np.isfinite(x_nd).all(axis=1) & np.isfinite(t_nc).all(axis=1)
    if not counts.any():
        return _shift(x_nd[:0], shift_D, x_ND.dtype), fill_units(x_ND.shape[1], targets_NC.shape[1])
    shift_D = _shift(x_nd[counts], shift_D, x_ND.dtype)
    units = Units(
        features_D=_powers(np.abs(x_nd[counts] - shift_D).mean(axis=0)),
        targets_C=_powers(np.abs(t_nc[counts]).max(axis=0)),
        weight=float(_powers(np.sqrt(w_n[counts]).mean(keepdims=True))[0]),
    )
    return shift_D, units


def sum_blocks(
    x_ND: np.ndarray,
    targets_NC: np.ndarray,
    weights_N: np.ndarray | None,
    rows: np.ndarray | None,
    shift_D: Array,
    units: Units | None,
) -> Sums:
    """Sums over the rows, on the grid of the units, or in float64 without units."""
    d, c = x_ND.shape[1], targets_NC.shape[1]
    of = units or fill_units(d, c)
    gram_DD, cross_DE, total_E, squares_E = np.zeros((d, d)), np.zeros((d, c + 1)), np.zeros(c + 1), np.zeros(c + 1)
    pieces = _Pieces(x_ND=x_ND, targets_NC=targets_NC, weights_N=weights_N, rows=rows, shift_D=shift_D, units=of)
    count = len(x_ND) if rows is None else len(rows)
    for start in range(0, count, BLOCK):
        with np.errstate(over="ignore", invalid="ignore"):  # refused by name below
            parts = _block(pieces, start, min(start + BLOCK, count), np.float64 if units is None else np.float32)
        for sums, part in zip((gram_DD, cross_DE, total_E, squares_E), parts, strict=True):
            _add_on_grid(sums, part, units is not None)
    _finish(gram_DD, of)
    scale_E = np.append(of.targets_C, 1.0) * of.weight**2
    cross_DE *= of.features_D[:, None]
    cross_DE *= scale_E
    return Sums(
        weight=float(total_E[-1] * scale_E[-1]),
        sum_D=cross_DE[:, -1].copy(),
        gram_DD=gram_DD,
        target_sum_C=(total_E * scale_E)[:-1],
        target_squares_C=(squares_E * scale_E * np.append(of.targets_C, 1.0))[:-1],
        cross_DC=cross_DE[:, :-1].copy(),
    )


@dataclass(frozen=True, kw_only=True)
class _Pieces:
    """What pieces of a block are cut from."""

    x_ND: np.ndarray
    targets_NC: np.ndarray
    weights_N: np.ndarray | None
    rows: np.ndarray | None
    shift_D: Array
    units: Units


def _block(of: _Pieces, start: int, stop: int, dtype: type) -> tuple[np.ndarray, np.ndarray, Array, Array]:
    """Gram (upper triangle), cross products, sums and squares of the targets, with a column of 1 as the last target."""
    d, c = of.x_ND.shape[1], of.targets_NC.shape[1]
    syrk = blas.dsyrk if dtype is np.float64 else blas.ssyrk
    gram_DD: np.ndarray = np.zeros((d, d), dtype=dtype, order="F")
    cross_DE: np.ndarray = np.zeros((d, c + 1), dtype=dtype)
    total_E, squares_E = np.zeros(c + 1), np.zeros(c + 1)
    for z_nd, t_ne, w_n in _cut(of, start, stop, dtype):
        if d:
            gram_DD = syrk(1.0, z_nd.T, beta=1.0, c=gram_DD, overwrite_c=1)
        weighted_ne = t_ne if w_n is None else t_ne * w_n[:, None]
        cross_DE += z_nd.T @ weighted_ne.astype(dtype, copy=False)
        if w_n is not None:
            weighted_ne *= w_n[:, None]
        total_E += weighted_ne.sum(axis=0)
        squares_E += np.einsum("ne,ne->e", weighted_ne, t_ne)
    _refuse_bad(gram_DD, total_E, of, start, stop)
    return gram_DD, cross_DE, total_E, squares_E


def _cut(of: _Pieces, start: int, stop: int, dtype: type) -> Iterator[tuple[np.ndarray, Array, Array | None]]:
    """Pieces: features shifted and weighted, targets with a 1, roots of weights; all in units."""
    d, c = of.x_ND.shape[1], of.targets_NC.shape[1]
    size = max(256, _PIECE // max(d, 1))
    buffer: np.ndarray = np.empty((min(size, stop - start), d), dtype=dtype)
    inverse_D: np.ndarray = (1.0 / of.units.features_D).astype(dtype)
    feature_units, target_units = bool((inverse_D != 1).any()), bool((of.units.targets_C != 1).any())
    for low in range(start, stop, size):
        high = min(low + size, stop)
        at = slice(low, high) if of.rows is None else of.rows[low:high]
        z_nd = shifted(of.x_ND, at, of.shift_D, buffer[: high - low])
        if feature_units:
            z_nd *= inverse_D
        t_ne = np.ones((high - low, c + 1))
        t_ne[:, :-1] = of.targets_NC[at]
        if target_units:
            t_ne[:, :-1] /= of.units.targets_C
        w_n = None
        if of.weights_N is not None or of.units.weight != 1.0:
            w_n = np.ones(high - low) if of.weights_N is None else np.sqrt(of.weights_N[at])
            w_n /= of.units.weight
            if (w_n == 1.0).all():  # most often, and it saves a pass
                w_n = None
            else:
                z_nd *= w_n.astype(dtype)[:, None]
        yield z_nd, t_ne, w_n


def shifted(x_ND: np.ndarray, at: slice | np.ndarray, shift_D: Array, out_nd: np.ndarray) -> np.ndarray:
    """Rows less a shift, written to `out_nd` and rounded once.

    Float32 arithmetic is used only where features and shift are float32 numbers.
    """
    shift32_D = shift_D.astype(np.float32)
    if out_nd.dtype != np.float32 or x_ND.dtype not in (np.float32, np.float16) or (shift32_D != shift_D).any():
        out_nd[...] = np.subtract(x_ND[at], shift_D, dtype=np.float64)
    elif isinstance(at, slice) or x_ND.dtype != np.float32:
        np.subtract(x_ND[at], shift32_D, out=out_nd)
    else:
        np.take(x_ND, at, axis=0, out=out_nd, mode="clip")
        out_nd -= shift32_D
    return out_nd


def _add_on_grid(sums: Array, part: np.ndarray, rounded: bool) -> None:
    if rounded:
        part = np.multiply(part, GRID, dtype=np.float64)
        np.rint(part, out=part)
        part *= 1.0 / GRID
    sums += part


def _finish(gram_DD: Array, units: Units) -> None:
    """Mirror the upper triangle and leave the units, in place."""
    upper_DD = np.triu(gram_DD, 1)
    gram_DD += upper_DD.T
    unit_D = units.features_D * units.weight
    if (unit_D != 1).any():
        gram_DD *= unit_D[:, None]
        gram_DD *= unit_D


def _shift(x_nd: Array, shift_D: np.ndarray | None, dtype: np.dtype) -> Array:
    """Near the mean; a float32 number where the features are, so that it is taken off without rounding it."""
    if shift_D is not None:
        return np.asarray(shift_D, dtype=np.float64)
    mean_D = x_nd.mean(axis=0) if len(x_nd) else np.zeros(x_nd.shape[1])
    return mean_D.astype(np.float32).astype(np.float64) if dtype in (np.float32, np.float16) else mean_D


def _powers(sizes: Array) -> Array:
    """The power of two that is not below each size; 1 where it is 0."""
    mantissas, exponents = np.frexp(sizes)
    return np.where(sizes > 0, np.ldexp(1.0, exponents - (mantissas == 0.5)), 1.0)


def _refuse_bad(gram_DD: np.ndarray, total_E: Array, of: _Pieces, start: int, stop: int) -> None:
    if np.isfinite(np.diag(gram_DD)).all() and np.isfinite(total_E).all():
        return
    at = np.arange(start, stop) if of.rows is None else of.rows[start:stop]
    for name, values in (("Features", of.x_ND), ("Targets", of.targets_NC)):
        bad = np.flatnonzero(~np.isfinite(values[at]).all(axis=1))
        if len(bad):
            raise DataError(
                f"{name} must be finite, but row {at[bad[0]]} holds NaN or infinite values ({len(bad)} rows in this "
                f"block do): leave these examples out, or extract them in float32."
            )
    raise DataError(
        "Features must be of a size whose square float64 can hold (up to 1e150), but some are larger: divide them."
    )
