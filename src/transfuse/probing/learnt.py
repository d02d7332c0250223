"""What a ridge head was made of, so that examples can be added to it and taken from it without the others.

The head of a given strength and metric is a function of a few sums over the examples, and sums add and subtract: what
is left after `less` gives the head that a fit without those examples gives (the "summation form" of Cao and Yang,
"Towards Making Systems Forget with Machine Unlearning", IEEE S&P 2015). Objective: see `ridge.py`.

The sums are personal data wherever the examples are: from those of a few examples the examples can be read.
Letters: N examples, D features, C classes, labels or target columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from transfuse.core.errors import DataError, UsageError
from transfuse.core.nouns import Kind
from transfuse.probing.moments import (
    Moments,
    added,
    covariance_DD,
    cross_covariance_DC,
    mean_D,
    moments,
    reshifted,
    subtracted,
    target_mean_C,
)

Array = NDArray[np.float64]

WIDEST = 4096
"""Features up to which the sums are kept: they grow with the square, and are 67 MB on the disk at this width."""


@dataclass(frozen=True, kw_only=True)
class Learnt:
    """The sums behind a ridge head, what decides the head beside them, and which examples are in them."""

    kind: Kind
    moments: Moments
    """Of features and raw targets: one-hot, 0/1, or values in the user's units."""
    scale_D: Array
    """Metric of the penalty: a feature counts in units of it; one that did not vary at the first fit has 0, and no
    weight from then on."""
    strength: float
    temperature: float
    """Of the ridge head, from its out-of-fold logits."""
    losses: Mapping[str, float]
    """Out-of-fold score of the best head of each solver that was tried (`Head.score`)."""
    solver: str
    """Of the head in use: `ridge`, or `logistic`, which the sums do not determine."""
    digests: tuple[str, ...]
    """One for each learnt example."""
    targets: np.ndarray
    """As in `Examples.targets`, in the order of the digests."""
    weights_N: np.ndarray
    """float32; as the sums were made, class weights included."""
    factors_C: Array
    """What a class's examples count (`balanced` class weights are those of the first fit)."""
    unit: float
    """Example weights are divided by it: the mean weight at the first fit."""
    precision: str
    """Number format in which the features were computed."""


def coded(targets: np.ndarray, kind: Kind, classes: int) -> Array:
    """Targets as the columns of the sums, float64 (N, C)."""
    return np.eye(classes)[targets] if kind == "single-label" else np.asarray(targets, np.float64)


def solved(learnt: Learnt) -> tuple[Array, Array]:
    """Weights (C, D) and bias (C,) on raw features, before the temperature: the head that a fit to all rows gives."""
    m, scale_D = learnt.moments, learnt.scale_D
    inverse_D = np.divide(1.0, scale_D, out=np.zeros(len(scale_D)), where=scale_D > 0)
    a_DD = covariance_DD(m) * np.outer(inverse_D, inverse_D)
    a_DD[np.diag_indices_from(a_DD)] += learnt.strength
    # one strength only: Cholesky, at a quarter of what the path's decomposition in `ridge.py` takes
    b_DC = cross_covariance_DC(m) * inverse_D[:, None]
    weight_CD = (scipy.linalg.solve(a_DD, b_DC, assume_a="pos", overwrite_a=True) * inverse_D[:, None]).T
    bias_C = target_mean_C(m) - weight_CD @ mean_D(m)
    # labels are fitted as -1 and 1, so that the sigmoid's border at 0 is halfway between the two
    return (2 * weight_CD, 2 * bias_C - 1) if learnt.kind == "multi-label" else (weight_CD, bias_C)


def more(
    learnt: Learnt, x_ND: np.ndarray, targets: np.ndarray, weights_N: np.ndarray, digests: Sequence[str]
) -> Learnt:
    """With more examples; their weights stand beside `learnt.weights_N`."""
    return replace(
        learnt,
        moments=added(learnt.moments, _sums(learnt, x_ND, targets, weights_N)),
        digests=(*learnt.digests, *digests),
        targets=np.concatenate([learnt.targets, np.asarray(targets, learnt.targets.dtype)]),
        weights_N=np.concatenate([learnt.weights_N, weights_N]).astype(np.float32),
    )


def less(learnt: Learnt, x_ND: np.ndarray, digests: Sequence[str]) -> Learnt:
    """Without the examples of these digests, of which `x_ND` holds the features: every copy of each is taken out.

    The shift moves to the mean of what is left, so that it says nothing of what is gone.
    Raises `DataError` for a digest that was not learnt, and when fewer than 2 examples would be left.
    """
    if not len(digests):
        return learnt
    row_of = {digest: row for row, digest in enumerate(digests)}
    strange = row_of.keys() - set(learnt.digests)
    if strange:
        raise DataError(f"Examples to forget must have been learnt, but {len(strange)} of {len(row_of)} were not.")
    gone = np.array([digest in row_of for digest in learnt.digests])
    if (learnt.weights_N[~gone] > 0).sum() < 2:
        raise DataError(
            f"At least 2 examples must be left, but {int(gone.sum())} of {len(gone)} were to be forgotten. "
            "Delete the model instead."
        )
    places = np.array([row_of[digest] for digest in learnt.digests if digest in row_of], np.int64)
    old = _sums(learnt, np.asarray(x_ND)[places], learnt.targets[gone], learnt.weights_N[gone])
    left = subtracted(learnt.moments, old)
    return replace(
        learnt,
        moments=reshifted(left, left.shift_D + left.sum_D / left.weight),
        digests=tuple(digest for digest, out in zip(learnt.digests, gone, strict=True) if not out),
        targets=learnt.targets[~gone],
        weights_N=learnt.weights_N[~gone],
    )


def _sums(learnt: Learnt, x_ND: np.ndarray, targets: np.ndarray, weights_N: np.ndarray) -> Moments:
    d, c = len(learnt.scale_D), len(learnt.moments.target_sum_C)
    if x_ND.ndim != 2 or x_ND.shape[1] != d:
        raise UsageError(f"Features must be (examples, {d}), but have shape {x_ND.shape}.")
    shift_D = learnt.moments.shift_D
    return moments(x_ND, coded(targets, learnt.kind, c), weights_N.astype(np.float64), shift_D=shift_D, exact=True)
