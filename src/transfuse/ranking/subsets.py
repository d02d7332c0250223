"""Which examples the sources see, and how many sources see how many.

Successive halving (Jamieson and Talwalkar, arXiv:1502.07943) over examples. A later round has eight times the examples
and a quarter of the sources; a fixed number of them sees everything. All rounds before the last one therefore cost at
most three quarters of the last, however many sources there are, apart from the fewest examples that can tell anything.
Subsets are nested, so that what was extracted for one round serves the next.
Letters: N examples, C classes or target columns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from transfuse.core.nouns import Examples, Kind, Task
from transfuse.core.randomness import key

FINALISTS = 4
"""Sources that see every example."""
_KEPT, _GROWTH = 4, 8
"""A round's sources over the next one's, and the next one's examples over this one's."""
_LEAST, _LEAST_A_CLASS = 100, 5
_BINS = 10


@dataclass(frozen=True, kw_only=True)
class Round:
    """One round of the halving."""

    examples: int
    sources: int
    """How many take part, at most."""


@dataclass(frozen=True, kw_only=True)
class Subset:
    """The first examples of a task in their stratified order."""

    task: Task
    examples: Examples
    pieces: tuple[Task, ...]
    """The examples in the portions in which the rounds add them: each is extracted once."""
    order: np.ndarray
    """Rows (N,) of `examples` such that every beginning is stratified."""
    places: np.ndarray
    """Where each example lies in the task's training split, (N,)."""

    def __len__(self) -> int:
        return len(self.examples)


def plan(examples: int, sources: int, least: int) -> tuple[Round, ...]:
    """The rounds for so many examples and sources; `least`: the fewest examples that tell anything."""
    sizes = [examples]
    while FINALISTS * _KEPT ** (len(sizes) - 1) < sources:
        smaller = max(sizes[0] // _GROWTH, least)
        if 2 * smaller > sizes[0]:
            break
        sizes.insert(0, smaller)
    room = [FINALISTS * _KEPT**place for place in reversed(range(len(sizes)))]
    room[0] = sources
    pairs = zip(sizes, room, strict=True)
    return tuple(Round(examples=size, sources=min(sources, seats)) for size, seats in pairs)


def least_examples(task: Task) -> int:
    """The fewest examples that tell anything: 100, and 5 for each class or label."""
    return max(_LEAST, _LEAST_A_CLASS * len(task.classes) if task.kind != "regression" else 0)


def subsets(task: Task, sizes: Sequence[int], seed: int) -> list[Subset]:
    """Nested subsets of the training examples, of growing sizes.

    The order within strata depends on the seed and on what the examples are. A single subset of everything is the
    split as it is, so that its features are those that other verbs have cached or will ask for.
    """
    train = task.splits["train"]
    order = stratified_order(train, task.kind, seed)
    if list(sizes) == [len(train)]:
        return [Subset(task=task, examples=train, pieces=(task,), order=order, places=np.arange(len(train)))]
    borders = list(zip([0, *sizes[:-1]], sizes, strict=True))
    pieces = [replace(task, splits={"train": taken(train, order[start:end])}) for start, end in borders]
    return [
        Subset(
            task=task,
            examples=taken(train, order[:size]),
            pieces=tuple(pieces[: place + 1]),
            order=np.arange(size),
            places=order[:size],
        )
        for place, size in enumerate(sizes)
    ]


def taken(examples: Examples, rows: np.ndarray) -> Examples:
    """Some of the examples, in this order."""
    return Examples(
        items=[examples.items[row] for row in rows],
        targets=examples.targets[rows],
        digests=tuple(examples.digests[row] for row in rows),
        names=tuple(examples.names[row] for row in rows),
        weights=None if examples.weights is None else examples.weights[rows],
        groups=None if examples.groups is None else tuple(examples.groups[row] for row in rows),
    )


def stratified_order(examples: Examples, kind: Kind, seed: int) -> np.ndarray:
    """Rows (N,) such that every beginning holds two of each class, and from there on the classes' shares."""
    strata_N = _strata(examples.targets, kind)
    luck_N = np.array([key(seed, "rank", digest) for digest in examples.digests])
    position_N = np.empty(len(examples))
    for stratum in np.unique(strata_N):
        members = np.flatnonzero(strata_N == stratum)
        members = members[np.argsort(luck_N[members], kind="stable")]
        position_N[members] = np.maximum(np.arange(len(members)) - 1, 0) / len(members)
    return np.lexsort((luck_N, position_N))


def _strata(targets: np.ndarray, kind: Kind) -> np.ndarray:
    """The class; of labels the rarest that an example has; of values the tenth in which the first column lies."""
    if kind == "single-label":
        return targets
    if kind == "multi-label":
        counts_C = np.append(targets.sum(axis=0), np.inf)
        having_NC = np.concatenate([targets > 0, np.ones((len(targets), 1), bool)], axis=1)
        return np.where(having_NC, counts_C, np.inf).argmin(axis=1) + (targets.sum(axis=1) == 0) * len(counts_C)
    values_N = targets.reshape(len(targets), -1)[:, 0]
    return np.digitize(values_N, np.unique(np.quantile(values_N, np.linspace(0, 1, _BINS + 1)[1:-1])))
