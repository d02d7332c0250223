"""Folds for cross-validation: stratified, groups kept whole, and a function of the examples, not of their order.

Letters: N examples, C classes, U units (examples, or groups of them).
"""

import hashlib
from collections.abc import Sequence

import numpy as np

from transfuse.core.randomness import key

_PIECE = 4096


def assign_folds(
    x_ND: np.ndarray, classes_NC: np.ndarray | None, folds: int, seed: int, groups: Sequence[str] | None
) -> np.ndarray:
    """The fold of every example, int64 (N,), in 0..K-1.

    K is `folds`, or less when there are fewer units, or fewer units in every class. All folds are 0 when there is
    a single unit: then nothing can be held out.

    Args:
        x_ND: Features; without groups their digests decide, so that the order of the rows does not.
        classes_NC: 0/1 memberships to spread evenly over the folds; None for none.
    """
    members_NC = np.ones((len(x_ND), 1)) if classes_NC is None else classes_NC
    names = [str(g) for g in groups] if groups is not None else _digests(x_ND, members_NC)
    order = sorted(range(len(names)), key=lambda row: (key(seed, "fold", names[row]), names[row]))
    unit_N, counts_UC = _units(names, order, members_NC, merge=groups is not None)
    most = int((counts_UC > 0).sum(axis=0).max())
    k = max(1, min(folds, len(counts_UC), max(most, 2)))
    exclusive = groups is None and bool((counts_UC.sum(axis=1) == 1).all())
    return (_deal(counts_UC, k) if exclusive else _spread(counts_UC, k))[unit_N]


def _digests(x_ND: np.ndarray, members_NC: np.ndarray) -> list[str]:
    names: list[str] = []
    for start in range(0, len(x_ND), _PIECE):  # no float64 copy of the whole
        at = slice(start, start + _PIECE)
        rows = np.concatenate([np.asarray(part[at], np.float64) for part in (x_ND, members_NC)], axis=1) + 0.0
        names += [hashlib.blake2b(row.tobytes(), digest_size=16).hexdigest() for row in rows]
    return names


def _units(names: list[str], order: list[int], members_NC: np.ndarray, merge: bool) -> tuple[np.ndarray, np.ndarray]:
    """The unit of every example (N,), units numbered in `order`, and their members of each class (U, C)."""
    numbers: dict[object, int] = {}
    unit_N = np.empty(len(names), dtype=np.int64)
    for row in order:
        unit_N[row] = numbers.setdefault(names[row] if merge else row, len(numbers))
    counts_UC = np.zeros((len(numbers), members_NC.shape[1]))
    np.add.at(counts_UC, unit_N, members_NC)
    return unit_N, counts_UC


def _deal(counts_UC: np.ndarray, k: int) -> np.ndarray:
    """Units of one example each, dealt like cards, class by class without a break: counts differ by one at most."""
    by_class = np.argsort(counts_UC.argmax(axis=1), kind="stable")
    fold_U = np.empty(len(counts_UC), dtype=np.int64)
    fold_U[by_class] = np.arange(len(by_class)) % k
    return fold_U


def _spread(counts_UC: np.ndarray, k: int) -> np.ndarray:
    """Units with several members, rarest class and largest first, each to the fold that needs it most."""
    share_UC = counts_UC / np.maximum(counts_UC.sum(axis=0), 1.0)
    share_UC = np.concatenate([share_UC, np.full((len(share_UC), 1), 1.0 / len(share_UC))], axis=1)
    held_KC = np.zeros((k, share_UC.shape[1]))
    fold_U = np.empty(len(share_UC), dtype=np.int64)
    for unit in np.argsort(-share_UC.max(axis=1), kind="stable"):
        fold_U[unit] = np.argmin(np.round(held_KC @ share_UC[unit], 12))
        held_KC[fold_U[unit]] += share_UC[unit]
    return fold_U
