"""Sufficient statistics: what a set of weighted examples says about a linear head.

They form a group. They add (blocks, shards, machines), subtract (the folds of cross-validation, rows to be forgotten)
and index (some of the features), and a closed-form head needs nothing else; so examples are read once, in constant
memory.

    others = subtracted(accumulate(shards), fold)

Features are shifted by about their mean before they are squared, so that large means cost no digits (Chan, Golub and
LeVeque, "Algorithms for Computing the Sample Variance", 1983). Blocks of 8,192 rows are multiplied in float32; their
sums are rounded to multiples of 2^-20 units, where a unit is a power of two near the size of a feature, and added in
float64. Such additions are exact (the idea of Demmel and Nguyen, "Parallel Reproducible Summation", 2015), so that
whatever the order in which the same shards are added or subtracted, the bits are the same; `order_free` says when that
holds. With `exact=True` the products are float64 too, which costs twice the time and gives 12 digits instead of 7;
then the last bits do depend on the order.
Letters: N examples, D features, C targets (classes, labels or columns).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from transfuse.core.errors import DataError, UsageError
from transfuse.probing.summing import GRID, Units, fill_units, pilot_units, sum_blocks

Array = NDArray[np.float64]
Block = tuple[np.ndarray, np.ndarray, np.ndarray | None]
"""Features (N, D), targets (N, C), weights (N,) or None."""


@dataclass(frozen=True, kw_only=True)
class Moments:
    """What a set of weighted examples says about a linear head: sums over rows, with x shifted."""

    rows: int
    weight: float
    """Sum of weights w."""
    shift_D: Array
    """Taken off before squaring."""
    sum_D: Array
    """Sum of w (x - shift)."""
    gram_DD: Array
    """Sum of w (x - shift)(x - shift)'."""
    target_sum_C: Array
    """Sum of w t."""
    target_squares_C: Array
    """Sum of w t²."""
    cross_DC: Array
    """Sum of w (x - shift) t'."""
    units: Units | None = None
    """The grid of the sums; None when they are float64 throughout or were moved off the grid."""


def moments(
    x_ND: np.ndarray,
    targets_NC: np.ndarray,
    weights_N: np.ndarray | None = None,
    *,
    rows: np.ndarray | None = None,
    shift_D: np.ndarray | None = None,
    like: Moments | None = None,
    exact: bool = False,
) -> Moments:
    """The statistics of an array, which may be memory-mapped: it is read in blocks of 8,192 rows.

    Args:
        x_ND: Finite numbers of any real dtype.
        targets_NC: One-hot, 0/1 or values, (N, C) or (N,). Values should be of mean near 0: they are not shifted.
        weights_N: Not negative; None for 1 each. All may be 0.
        rows: Indices of the rows that count; None for all of them.
        shift_D: Where to measure features from; by default near the mean of the first rows.
        like: Takes shift and units from other statistics, as is needed for sums that are to be equal to the bit.
        exact: Float64 throughout.

    Raises:
        UsageError: Shapes that do not fit.
        DataError: NaN or infinite numbers, negative weights.
    """
    x_ND, targets_NC, weights_N = _checked(x_ND, targets_NC, weights_N)
    if like is None:
        like = pilot(x_ND, targets_NC, weights_N, rows=rows, shift_D=shift_D)
    elif shift_D is not None:
        raise UsageError("`shift` must be None when `like` is given, but both are: leave one of them out.")
    _same_form(like, x_ND.shape[1], targets_NC.shape[1])
    units = None if exact else like.units or fill_units(x_ND.shape[1], targets_NC.shape[1])
    sums = sum_blocks(x_ND, targets_NC, weights_N, rows, like.shift_D, units)
    return Moments(
        rows=len(x_ND) if rows is None else len(rows),
        weight=sums.weight,
        shift_D=like.shift_D,
        sum_D=sums.sum_D,
        gram_DD=sums.gram_DD,
        target_sum_C=sums.target_sum_C,
        target_squares_C=sums.target_squares_C,
        cross_DC=sums.cross_DC,
        units=units,
    )


def accumulate(
    blocks: Iterable[Block], *, like: Moments | None = None, shift_D: np.ndarray | None = None, exact: bool = False
) -> Moments:
    """The statistics of a stream of blocks, in memory that does not grow with their number.

    Shift and units come from the first block unless `like` gives them. Give every shard the same `like`
    (from `pilot`) where sums over shards are to be equal to the bit.
    """
    total: Moments | None = None
    for x_ND, targets_NC, weights_N in blocks:
        if like is None:
            like = pilot(x_ND, targets_NC, weights_N, shift_D=shift_D)
        part = moments(x_ND, targets_NC, weights_N, like=like, exact=exact)
        total = part if total is None else _add_into(total, part)
    if total is None:
        if like is None:
            raise DataError("Statistics need at least one block of examples, but the stream is empty.")
        return like
    return total


def pilot(
    x_ND: np.ndarray,
    targets_NC: np.ndarray,
    weights_N: np.ndarray | None = None,
    *,
    rows: np.ndarray | None = None,
    shift_D: np.ndarray | None = None,
) -> Moments:
    """Statistics of no row, with a shift and units that suit the first rows given: the `like` of all shards."""
    x_ND, targets_NC, weights_N = _checked(x_ND, targets_NC, weights_N)
    d, c = x_ND.shape[1], targets_NC.shape[1]
    if shift_D is not None and np.shape(shift_D) != (d,):
        raise UsageError(f"`shift` must be one number a feature ({d}), but has shape {np.shape(shift_D)}.")
    shift_D, units = pilot_units(x_ND, targets_NC, weights_N, rows, shift_D)
    return Moments(
        rows=0,
        weight=0.0,
        shift_D=shift_D,
        sum_D=np.zeros(d),
        gram_DD=np.zeros((d, d)),
        target_sum_C=np.zeros(c),
        target_squares_C=np.zeros(c),
        cross_DC=np.zeros((d, c)),
        units=units,
    )


def added(a: Moments, b: Moments) -> Moments:
    """The statistics of the rows of both; `b` is moved to the shift of `a` where they differ."""
    return _combined(a, b, 1.0)


def subtracted(a: Moments, b: Moments) -> Moments:
    """The statistics of the rows of `a` without those of `b`, which must be among them."""
    if b.rows > a.rows:
        raise UsageError(f"`b` must be among the {a.rows} rows of `a`, but has {b.rows}: give the larger one first.")
    return _combined(a, b, -1.0)


def indexed(m: Moments, columns: Sequence[int] | np.ndarray | slice) -> Moments:
    """The statistics of some of the features (indices, mask or slice), in that order."""
    chosen = np.arange(len(m.shift_D))[columns]
    return replace(
        m,
        shift_D=m.shift_D[chosen],
        sum_D=m.sum_D[chosen],
        gram_DD=m.gram_DD[np.ix_(chosen, chosen)],
        cross_DC=m.cross_DC[chosen],
        units=None if m.units is None else replace(m.units, features_D=m.units.features_D[chosen]),
    )


def reshifted(m: Moments, shift_D: np.ndarray) -> Moments:
    """The same rows, measured from another shift."""
    shift_D = np.asarray(shift_D, dtype=np.float64)
    if shift_D.shape != m.shift_D.shape:
        raise UsageError(f"`shift` must be one number a feature ({len(m.shift_D)}), but has shape {shift_D.shape}.")
    if (shift_D == m.shift_D).all():
        return m
    by_D = shift_D - m.shift_D
    sum_D = m.sum_D - m.weight * by_D
    mixed_DD = np.outer(m.sum_D, by_D)
    return replace(
        m,
        shift_D=shift_D,
        sum_D=sum_D,
        gram_DD=m.gram_DD - mixed_DD - mixed_DD.T + m.weight * np.outer(by_D, by_D),
        cross_DC=m.cross_DC - np.outer(by_D, m.target_sum_C),
        units=None,
    )


def order_free(m: Moments) -> bool:
    """Whether every sum that led here was exact, so that another order of shards would have given the same bits.

    All partial sums are multiples of 2^-20 units; below 2^33 units they have at most 53 bits. By Cauchy and Schwarz
    no sum over some of the rows exceeds the largest diagonal entry of the sum over all.
    """
    if m.units is None:
        return False
    weight = m.units.weight
    squares = (
        m.weight / weight**2,
        *(np.diag(m.gram_DD) / (m.units.features_D * weight) ** 2),
        *(m.target_squares_C / (m.units.targets_C * weight) ** 2),
    )
    return max(squares) < 2.0**52 / GRID  # half of what 53 bits hold, for the rounding of the products


def mean_D(m: Moments) -> Array:
    """Weighted mean of the features."""
    return m.shift_D + m.sum_D / _positive(m)


def covariance_DD(m: Moments) -> Array:
    """Weighted covariance of the features, divided by the sum of weights."""
    away_D = m.sum_D / _positive(m)
    covariance = m.gram_DD / m.weight
    covariance -= np.outer(away_D, away_D)
    return covariance


def cross_covariance_DC(m: Moments) -> Array:
    """Weighted covariance of features and targets, divided by the sum of weights."""
    return (m.cross_DC - np.outer(m.sum_D, m.target_sum_C / _positive(m))) / m.weight


def target_mean_C(m: Moments) -> Array:
    """Weighted mean of the targets; for one-hot ones the shares of the classes."""
    return m.target_sum_C / _positive(m)


def class_means_CD(m: Moments) -> Array:
    """Mean of the features over each class, for 0/1 targets; nan for a class without weight."""
    count_C = np.where(m.target_sum_C > 0, m.target_sum_C, np.nan)
    return m.shift_D + m.cross_DC.T / count_C[:, None]


def _positive(m: Moments) -> float:
    if not m.weight > 0:
        raise DataError(f"The sum of weights must be positive, but is {m.weight:g}: give examples of positive weight.")
    return m.weight


def _combined(a: Moments, b: Moments, sign: float) -> Moments:
    _same_form(a, *b.cross_DC.shape)
    b = reshifted(b, a.shift_D)
    return Moments(
        rows=a.rows + int(sign) * b.rows,
        weight=a.weight + sign * b.weight,
        shift_D=a.shift_D,
        sum_D=a.sum_D + sign * b.sum_D,
        gram_DD=a.gram_DD + sign * b.gram_DD,
        target_sum_C=a.target_sum_C + sign * b.target_sum_C,
        target_squares_C=a.target_squares_C + sign * b.target_squares_C,
        cross_DC=a.cross_DC + sign * b.cross_DC,
        units=a.units if _same_units(a.units, b.units) else None,
    )


def _add_into(total: Moments, part: Moments) -> Moments:
    """`added`, reusing the largest array of `total`, which must be ours."""
    np.add(total.gram_DD, part.gram_DD, out=total.gram_DD)
    empty = np.zeros((0, 0))
    rest = _combined(replace(total, gram_DD=empty), replace(part, gram_DD=empty), 1.0)
    return replace(rest, gram_DD=total.gram_DD)


def _same_units(a: Units | None, b: Units | None) -> bool:
    if a is None or b is None:
        return False
    same = (a.features_D == b.features_D).all() and (a.targets_C == b.targets_C).all() and a.weight == b.weight
    return bool(same)


def _same_form(m: Moments, d: int, c: int) -> None:
    if m.cross_DC.shape != (d, c):
        raise UsageError(
            f"Statistics must be of the same features and targets, but one has {m.cross_DC.shape[0]} and "
            f"{m.cross_DC.shape[1]}, the other {d} and {c}: extract both with the same source and classes."
        )


def _checked(
    x_ND: np.ndarray, targets_NC: np.ndarray, weights_N: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    x_ND, targets_NC = np.asanyarray(x_ND), np.asanyarray(targets_NC)
    if x_ND.ndim != 2 or x_ND.dtype.kind not in "fiub":
        raise UsageError(f"`x` must be numbers (examples, features), but is {x_ND.dtype} {x_ND.shape}.")
    if targets_NC.ndim not in (1, 2) or len(targets_NC) != len(x_ND) or targets_NC.dtype.kind not in "fiub":
        raise UsageError(
            f"`targets` must be numbers ({len(x_ND)}, targets), but are {targets_NC.dtype} {targets_NC.shape}."
        )
    targets_NC = targets_NC[:, None] if targets_NC.ndim == 1 else targets_NC
    if weights_N is None:
        return x_ND, targets_NC, None
    weights_N = np.asarray(weights_N, dtype=np.float64)
    if weights_N.shape != (len(x_ND),):
        raise UsageError(f"`weights` must be one number an example ({len(x_ND)}), but have shape {weights_N.shape}.")
    if not np.isfinite(weights_N).all() or (weights_N < 0).any():
        raise DataError("Example weights must be finite and not negative, but some are not.")
    return x_ND, targets_NC, weights_N
