"""What each chosen block buys: out-of-fold predictions with the first one, two, ... blocks, and paired differences.

The columns of the Gram matrix are put in the order of the choice. Then one Cholesky factor a fold holds the factors of
all prefixes, and one matrix product for each block of the held-out rows serves every prefix that it belongs to. Each
head was fitted without the fold that it predicts. The order and the strengths were chosen with all rows in view,
which among a handful of blocks flatters the figures little; for a figure without it choose on other rows.
Letters: N examples, D features of the chosen blocks, B features of one block, C targets, K folds, S chosen blocks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Kind
from transfuse.measuring.intervals import interval, paired
from transfuse.measuring.metrics import PRIMARY
from transfuse.probing.block_statistics import (
    columns_of,
    precision_of,
    right_sides,
    scatter,
    solved,
    variance_D,
    whole,
)
from transfuse.probing.blocks import Choice
from transfuse.probing.moments import Moments, indexed, subtracted

Array = NDArray[np.float64]

_ROWS = 8192


@dataclass(frozen=True, kw_only=True)
class Gain:
    """What one block bought on top of those before it."""

    block: str
    metric: str
    score: Mapping[str, float]
    """`{"value", "low", "high", "n"}` of the head with this block and those before."""
    gain: Mapping[str, float]
    """The same of the difference to the head before, positive when better, with `p_value` and `probability_better`."""
    outputs_NC: np.ndarray
    """Out-of-fold outputs of the head, float32."""


def block_gains(
    features: Mapping[str, np.ndarray],
    y: np.ndarray,
    kind: Kind,
    choice: Choice,
    *,
    folds: Sequence[Moments],
    fold_N: np.ndarray,
    strengths: Mapping[str, float] | None = None,
    groups: Sequence[object] | None = None,
) -> tuple[Gain, ...]:
    """The out-of-fold score after each step of the choice, and by how much the step raised it, with intervals.

    The score is accuracy, mean average precision for multi-label and root mean squared error for regression; the first
    step is compared with the mean target of the training folds (the most frequent class).

    Args:
        features: (N, B) for each block by name, in the order of the statistics; they may be memory-mapped.
        y: (N,) class indices, or (N, C) labels or values: the targets of the statistics.
        kind: `single-label`, `multi-label` or `regression`.
        choice: Of `choose_blocks`, on the statistics of all folds.
        folds: Statistics of each fold, of one shift; see `fold_moments`.
        fold_N: Fold of each example.
        strengths: Of each chosen block, such as those of `tune_strengths`; None for those at which they joined.
        groups: Examples of one group are resampled together.

    Raises:
        UsageError: Folds that do not fit the statistics.
    """
    counts = np.bincount(fold_N, minlength=len(folds))
    if counts.tolist() != [fold.rows for fold in folds]:
        raise UsageError(
            f"`fold` must put {[fold.rows for fold in folds]} examples into the folds, as in their statistics, "
            f"but puts {counts.tolist()}."
        )
    if not choice.steps:
        return ()
    found = {step.block: step.strength for step in choice.steps} if strengths is None else strengths
    if missing := [step.block for step in choice.steps if step.block not in found]:
        raise UsageError(f"`strengths` must name every chosen block, but lacks {missing}.")
    outputs = _outputs(features, {step.block: found[step.block] for step in choice.steps}, folds, fold_N)
    name = PRIMARY[kind]
    return tuple(
        Gain(
            block=step.block,
            metric=name,
            score=interval(kind, name, y, after, groups=groups),
            gain=paired(kind, name, y, after, before, groups=groups),
            outputs_NC=after,
        )
        for step, before, after in zip(choice.steps, outputs[:-1], outputs[1:], strict=True)
    )


def _outputs(
    features: Mapping[str, np.ndarray], strengths: Mapping[str, float], folds: Sequence[Moments], fold_N: np.ndarray
) -> np.ndarray:
    """Out-of-fold outputs (S + 1, N, C) with the first 0, 1, ..., S of the blocks that have strengths, in order."""
    total, names = whole(folds), list(strengths)
    columns = columns_of({name: x_NB.shape[1] for name, x_NB in features.items()}, len(total.sum_D))
    order = np.concatenate([np.arange(columns[name].start, columns[name].stop) for name in names])
    penalty_D = np.concatenate([np.full(features[name].shape[1], strengths[name]) for name in names])
    penalty_D = penalty_D * variance_D(total)[order]
    ends = np.cumsum([features[name].shape[1] for name in names])
    outputs = np.empty((len(names) + 1, len(fold_N), len(total.target_sum_C)), np.float32)
    for k, fold in enumerate(folds):
        train = indexed(subtracted(total, fold), order)
        heads = _heads(train, penalty_D, ends)
        _predict([features[name] for name in names], train, heads, np.flatnonzero(fold_N == k), outputs)
    return outputs


def _heads(train: Moments, penalty_D: Array, ends: np.ndarray) -> list[np.ndarray]:
    """Slopes (D of the prefix, C) of the heads of all prefixes: the leading part of a factor is the part's factor."""
    right_DC = right_sides(train)
    factor_DD, _ = solved(scatter(train, precision_of(train)), right_DC, train.weight * penalty_D)
    trtrs = lapack.get_lapack_funcs("trtrs", (factor_DD,))
    half_DC = trtrs(factor_DD, np.asfortranarray(right_DC, factor_DD.dtype), lower=0, trans=1)[0]
    return [
        trtrs(np.asfortranarray(factor_DD[:d, :d]), np.asfortranarray(half_DC[:d]), lower=0)[0].astype(np.float32)
        for d in ends
    ]


def _predict(
    blocks: Sequence[np.ndarray], train: Moments, heads: Sequence[np.ndarray], rows: np.ndarray, outputs: np.ndarray
) -> None:
    """Fill the outputs of these rows; each block is read once and multiplied once."""
    mean_D, start = train.shift_D + train.sum_D / train.weight, 0
    outputs[:, rows] = train.target_sum_C / train.weight
    c = outputs.shape[2]
    for i, x_NB in enumerate(blocks):
        end = start + x_NB.shape[1]
        stacked = np.concatenate([head[start:end] for head in heads[i:]], axis=1)
        for at in np.split(rows, range(_ROWS, len(rows), _ROWS)):
            product = (x_NB[at] - mean_D[start:end]).astype(np.float32) @ stacked
            outputs[i + 1 :, at] += product.reshape(len(at), -1, c).transpose(1, 0, 2)
        start = end
