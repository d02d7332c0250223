"""What the user gave, checked and brought into one form: what every head is fitted to.

Letters: N examples, D features, C classes, labels or target columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from transfuse.core.errors import DataError, UsageError
from transfuse.core.nouns import Kind
from transfuse.core.tables import chosen
from transfuse.probing.folds import assign_folds

Array = NDArray[np.float64]
ClassWeights = Literal["balanced"] | Sequence[float] | None

_PIECE = 8192
_KINDS = ("single-label", "multi-label", "regression")


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Checked features and targets with their folds."""

    kind: Kind
    x_ND: np.ndarray
    """As given where that is float16, float32 or float64, so that it may be memory-mapped; else float64."""
    y: np.ndarray
    """int64 (N,) class indices, or float64 (N, C)."""
    targets_NC: Array
    """One-hot, 0/1, or regression targets with mean 0 and standard deviation 1."""
    centre_C: Array
    spread_C: Array
    """Mean and standard deviation taken off regression targets; 0 and 1 for the other kinds."""
    weights_N: Array
    """Mean 1; class weights multiplied in."""
    fold_N: np.ndarray
    scored: Array
    """Weights (N,), or (N, C) for multi-label, of what can be judged out of fold: 0 where the training folds have not
    both an example with and one without that class."""
    notes: tuple[str, ...]

    @property
    def folds(self) -> int:
        """Number of folds; 1 means that nothing can be held out."""
        return int(self.fold_N.max()) + 1


def make_problem(
    x_ND: np.ndarray,
    y: np.ndarray,
    kind: Kind,
    *,
    classes: int | None,
    weights_N: np.ndarray | None,
    class_weights: ClassWeights,
    folds: int,
    seed: int,
    groups: Sequence[str] | None,
) -> Problem:
    """Check everything and choose the folds; see `heads.fit_head` for the arguments and the errors."""
    chosen("kind of task", kind, _KINDS)
    if folds < 2:
        raise UsageError(f"`folds` must be 2 or more, but is {folds}.")
    x_ND = _features(x_ND)
    y, targets_NC = _targets(y, kind, len(x_ND), classes)
    if groups is not None and len(groups) != len(x_ND):
        raise UsageError(f"`groups` must have one entry an example ({len(x_ND)}), but has {len(groups)}.")
    weights_N = _weights(weights_N, len(x_ND)) * _class_weights(class_weights, y, targets_NC, kind)
    _learnable(targets_NC, weights_N, kind)
    weights_N = weights_N / weights_N.mean()
    fold_N = assign_folds(x_ND, None if kind == "regression" else _members(targets_NC, kind), folds, seed, groups)
    scored = _scored(targets_NC, weights_N, fold_N, kind)
    centre_C, spread_C = _scale(targets_NC, weights_N, kind)
    return Problem(
        kind=kind,
        x_ND=x_ND,
        y=y,
        targets_NC=(targets_NC - centre_C) / spread_C,
        centre_C=centre_C,
        spread_C=spread_C,
        weights_N=weights_N,
        fold_N=fold_N,
        scored=scored,
        notes=_notes(targets_NC, weights_N, fold_N, scored, folds, kind),
    )


def _features(x_ND: np.ndarray) -> np.ndarray:
    x_ND = np.asarray(x_ND)
    if x_ND.ndim != 2 or x_ND.shape[1] == 0 or x_ND.dtype.kind not in "fiub":
        raise UsageError(f"`x` must be numbers (examples, features), but is {x_ND.dtype} {x_ND.shape}.")
    if len(x_ND) < 2:
        raise DataError(f"A head needs at least 2 examples, but there are {len(x_ND)}: label some more.")
    if x_ND.dtype not in (np.float16, np.float32):
        x_ND = x_ND.astype(np.float64, copy=False)
    bad = np.concatenate(
        [
            start + np.flatnonzero(~np.isfinite(x_ND[start : start + _PIECE]).all(axis=1))
            for start in range(0, len(x_ND), _PIECE)
        ]
    )
    if len(bad):
        raise DataError(
            f"Features must be finite, but {len(bad)} of {len(x_ND)} rows hold NaN or infinite values "
            f"(the first is row {bad[0]}): leave these examples out, or extract them in float32."
        )
    return x_ND


def _targets(y: np.ndarray, kind: Kind, n: int, classes: int | None) -> tuple[np.ndarray, Array]:
    y = np.asarray(y)
    if y.dtype.kind not in "fiub":
        raise UsageError(f"`y` must be numbers, but is {y.dtype}: give class indices, 0/1 labels or values.")
    if y.ndim == 0 or len(y) != n:
        raise UsageError(f"`y` must have one entry a row of `x` ({n}), but has shape {y.shape}.")
    if not np.isfinite(y).all():
        raise DataError(
            f"Targets must be finite, but {int((~np.isfinite(y)).sum())} are not: leave these examples out."
        )
    if kind == "single-label":
        return _one_hot(y, classes)
    y_NC = y.astype(np.float64).reshape(n, -1)
    if y_NC.shape[1] == 0 or y.ndim > 2 or classes not in (None, y_NC.shape[1]):
        raise UsageError(f"`y` must be (examples, {classes or 'columns'}), but has shape {y.shape}.")
    if kind == "multi-label" and not np.isin(y_NC, (0.0, 1.0)).all():
        raise UsageError("Multi-label targets must be 0 or 1 for every label, but other values were found.")
    return y_NC, y_NC


def _one_hot(y: np.ndarray, classes: int | None) -> tuple[np.ndarray, Array]:
    if y.ndim != 1 or (y != np.floor(y)).any() or (y < 0).any():
        raise UsageError(
            f"Single-label targets must be class indices 0, 1, ... of shape (N,), but are {y.dtype} {y.shape}."
        )
    y = y.astype(np.int64)
    count = int(y.max()) + 1 if classes is None else classes
    if y.max() >= count:
        raise UsageError(f"Class indices must be below `classes` ({count}), but {y.max()} was found.")
    return y, np.eye(count)[y]


def _weights(weights_N: np.ndarray | None, n: int) -> Array:
    if weights_N is None:
        return np.ones(n)
    weights_N = np.asarray(weights_N, dtype=np.float64)
    if weights_N.shape != (n,):
        raise UsageError(f"`weights` must be one number an example ({n}), but have shape {weights_N.shape}.")
    if not np.isfinite(weights_N).all() or (weights_N < 0).any():
        raise DataError("Example weights must be finite and not negative, but some are not.")
    if weights_N.sum() == 0:
        raise DataError("Example weights must not all be 0: give at least two examples a positive weight.")
    return weights_N


def _class_weights(class_weights: ClassWeights, y: np.ndarray, targets_NC: Array, kind: Kind) -> Array:
    """One factor an example (N,)."""
    if class_weights is None:
        return np.ones(len(y))
    if kind != "single-label":
        raise UsageError(f"`class_weights` are for single-label tasks, but this one is {kind}: use example weights.")
    count_C = targets_NC.sum(axis=0)
    if isinstance(class_weights, str):
        chosen("class weighting", class_weights, ("balanced",))
        return (len(y) / (np.count_nonzero(count_C) * np.maximum(count_C, 1.0)))[y]
    given_C = np.asarray(class_weights, dtype=np.float64)
    if given_C.shape != count_C.shape or not np.isfinite(given_C).all() or (given_C < 0).any():
        raise UsageError(
            f"`class_weights` must be {len(count_C)} finite numbers of 0 or more, but are {class_weights}."
        )
    return given_C[y]


def _learnable(targets_NC: Array, weights_N: Array, kind: Kind) -> None:
    used_NC = targets_NC[weights_N > 0]
    if len(used_NC) < 2:
        raise DataError(f"A head needs 2 examples of positive weight, but there are {len(used_NC)}.")
    if kind != "regression" and not (used_NC.min(axis=0) < used_NC.max(axis=0)).any():
        raise DataError("All examples (of positive weight) have the same target: add examples of another class.")


def _members(targets_NC: Array, kind: Kind) -> Array:
    """What to spread over the folds: the classes; for labels also the examples that have none."""
    if kind == "single-label":
        return targets_NC
    return np.concatenate([targets_NC, (targets_NC.sum(axis=1, keepdims=True) == 0).astype(np.float64)], axis=1)


def _scored(targets_NC: Array, weights_N: Array, fold_N: np.ndarray, kind: Kind) -> Array:
    """See `Problem.scored`."""
    scored_NC = np.tile(weights_N[:, None], (1, targets_NC.shape[1]))
    for fold in range(int(fold_N.max()) + 1):
        seen_NC = targets_NC[(fold_N != fold) & (weights_N > 0)]
        held = fold_N == fold
        if len(seen_NC) == 0:
            scored_NC[held] = 0.0
        elif kind == "multi-label":
            scored_NC[np.ix_(held, seen_NC.min(axis=0) == seen_NC.max(axis=0))] = 0.0
        elif kind == "single-label":
            scored_NC[np.ix_(held, seen_NC.max(axis=0) == 0)] = 0.0
    if kind == "multi-label":
        return scored_NC
    return scored_NC[:, 0] if kind == "regression" else (scored_NC * targets_NC).sum(axis=1)


def _scale(targets_NC: Array, weights_N: Array, kind: Kind) -> tuple[Array, Array]:
    c = targets_NC.shape[1]
    if kind != "regression":
        return np.zeros(c), np.ones(c)
    centre_C = np.average(targets_NC, axis=0, weights=weights_N)
    spread_C = np.sqrt(np.average((targets_NC - centre_C) ** 2, axis=0, weights=weights_N))
    varies_C = spread_C > 1e-12 * np.maximum(np.abs(centre_C), 1e-300)
    return centre_C, np.where(varies_C, spread_C, 1.0)


def _notes(
    targets_NC: Array, weights_N: Array, fold_N: np.ndarray, scored: Array, folds: int, kind: Kind
) -> tuple[str, ...]:
    notes = []
    k = int(fold_N.max()) + 1
    if k == 1:
        notes.append("No cross-validation: all examples are one group. The strength is a default, not a choice.")
    elif k < folds:
        notes.append(f"{k} folds instead of {folds}: there are not enough examples or groups for more.")
    if kind == "regression":
        return tuple(notes)
    used_NC = targets_NC[weights_N > 0]
    absent = np.flatnonzero(used_NC.max(axis=0) == 0)
    always = np.flatnonzero(used_NC.min(axis=0) == 1) if kind == "multi-label" else np.array([], dtype=int)
    if len(absent):
        notes.append(f"Classes without an example, which the head never chooses: {absent.tolist()}.")
    if len(always):
        notes.append(f"Labels that every example has: {always.tolist()}.")
    lonely_C = ((scored if scored.ndim == 2 else scored[:, None]) * targets_NC).sum(axis=0) == 0
    lonely = np.setdiff1d(np.flatnonzero(lonely_C & (used_NC.max(axis=0) == 1)), always)
    if k > 1 and len(lonely):
        notes.append(f"Classes seen in one fold only, not judged by cross-validation: {lonely.tolist()}.")
    return tuple(notes)
