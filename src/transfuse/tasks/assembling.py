"""From examples that were read, of any modality, to a Task: split, checked, hashed.

Letters: N examples; C classes or target columns; M pairs.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from transfuse.core import digests
from transfuse.core.errors import DataError, UsageError
from transfuse.core.nouns import DataWarning, Examples, Kind, Modality, Task
from transfuse.tasks import checking
from transfuse.tasks.listing import Listing, kept
from transfuse.tasks.splitting import joined, split
from transfuse.tasks.targets import Targets, encode, encode_as, without_missing

SPLITS = ("train", "valid", "test")
Found = TypeVar("Found")
NO_PAIRS = np.empty((0, 2), np.int64)


@dataclass(frozen=True, kw_only=True)
class Read:
    """Examples that can be learnt from."""

    modality: Modality = "image"
    noun: str = "pictures"
    """What the examples are called in warnings."""
    listing: Listing
    targets: Targets
    digests: tuple[str, ...]
    """N digests of what the examples hold."""
    exact: np.ndarray
    """Pairs (M, 2) that are equal."""
    near: np.ndarray
    """Pairs (M, 2) that look or read the same."""


@dataclass(frozen=True, kw_only=True)
class Cut:
    """How a Task is to be split."""

    seed: int = 0
    valid: float = 0.2
    """Share held out for validation where the user gave no such split."""
    test: float = 0.2
    """Share held out for testing where the user gave no such split; 0 makes none."""

    def __post_init__(self) -> None:
        if not (0 < self.valid < 1 and 0 <= self.test < 1 and self.valid + self.test < 1):
            raise UsageError(
                "`valid` must be above 0, `test` at least 0, and their sum below 1, but they are"
                f" {self.valid:g} and {self.test:g}."
            )


def labelled(
    listing: Listing,
    kind: Kind | None,
    classes: tuple[str, ...] | None,
    examine: Callable[[Listing], tuple[Listing, Found]],
) -> tuple[Listing, Found, Targets]:
    """The examples that `examine` can read, what it found, and their targets, of `classes` where these are known."""
    listing = without_missing(listing)
    if classes is None:
        targets, notes = encode(listing, kind)
    elif kind is not None:
        targets, notes = encode_as(listing, kind, classes), ()
    good, found = examine(listing)
    if len(good) < len(listing):
        targets = encode(good, targets.kind)[0] if classes is None else encode_as(good, targets.kind, classes)
    return replace(good, warnings=(*notes, *good.warnings)), found, targets


def assembled(read: Read, cut: Cut, *, name: str, options: Mapping[str, Any]) -> Task:
    """The Task of what was read. Raises `DataError` when nothing can be learnt from its training split."""
    parts, notes = _parts(read, cut)
    warnings = (
        *read.listing.warnings,
        *notes,
        *checking.targets_warnings(read.targets, parts),
        *checking.copies_warnings(read.listing, read.targets, parts, read.exact, read.near, noun=read.noun),
        *checking.groups_warnings(read.listing, parts),
    )
    splits = {part: examples_of(read, np.flatnonzero(parts == part)) for part in SPLITS if (parts == part).any()}
    said = {**options, "valid": cut.valid, "test": cut.test, "splits": _origin(read.listing)}
    return Task(
        name=name,
        modality=read.modality,
        kind=read.targets.kind,
        classes=read.targets.classes,
        splits=splits,
        seed=cut.seed,
        digest=task_digest(read.targets.kind, read.targets.classes, splits),
        warnings=warnings,
        description={
            **read.listing.description,
            **{key: value for key, value in said.items() if isinstance(value, str | float | int)},
        },
    )


def whole(read: Read) -> tuple[Examples, tuple[DataWarning, ...]]:
    """Everything that was read as one split, for evaluating."""
    parts = np.full(len(read.listing), "test")
    copies = checking.copies_warnings(read.listing, read.targets, parts, read.exact, read.near, noun=read.noun)
    return examples_of(read, np.arange(len(read.listing))), (*read.listing.warnings, *copies)


def only_split(listing: Listing, split: str) -> Listing:
    """The part of data that have splits of their own; data without are taken whole. Raises `DataError`."""
    if listing.splits is None:
        return listing
    places = [place for place, part in enumerate(listing.splits) if part == split]
    if not places:
        there = ", ".join(sorted(set(listing.splits)))
        raise DataError(f"The data must have a split '{split}', but have {there}. Choose one of these.")
    return kept(listing, places)


def of_task(task: Task, classes: Sequence[str], split: str) -> tuple[Examples, tuple[DataWarning, ...]]:
    """A task's split with targets in a model's order of classes. Raises `DataError` for classes that it lacks."""
    if split not in task.splits:
        raise DataError(f"The task must have a split '{split}', but has {', '.join(task.splits)}. Choose one of these.")
    examples = task.splits[split]
    if tuple(task.classes) == tuple(classes) or task.kind == "regression":
        return examples, ()
    strange = [name for name in task.classes if name not in classes]
    if strange:
        raise DataError(
            f"The model knows the classes {', '.join(classes)}, but the task has also {', '.join(strange)}."
        )
    order = [tuple(classes).index(name) for name in task.classes]
    if task.kind == "single-label":
        return replace(examples, targets=np.array(order, np.int64)[examples.targets]), ()
    targets = np.zeros((len(examples), len(classes)), np.float32)
    targets[:, order] = examples.targets
    return replace(examples, targets=targets), ()


def task_digest(kind: Kind, classes: Sequence[str], splits: Mapping[str, Examples]) -> str:
    """SHA-256 over kind, classes, and each split's examples, targets and weights in order."""
    content = {
        part: [
            digests.of_many(examples.digests),
            digests.of_bytes(np.ascontiguousarray(examples.targets).tobytes()),
            "" if examples.weights is None else digests.of_bytes(examples.weights.tobytes()),
        ]
        for part, examples in splits.items()
    }
    return digests.of_value({"kind": kind, "classes": list(classes), "splits": content})


def name_of(data: Any, otherwise: str) -> str:
    """Name of a task: that of the file or folder."""
    return Path(data).expanduser().resolve().stem if isinstance(data, str | Path) else otherwise


def examples_of(read: Read, places: np.ndarray) -> Examples:
    """The examples at these places."""
    listing = read.listing
    groups = (
        None
        if listing.groups is None
        else [g if g is not None else n for g, n in zip(listing.groups, listing.names, strict=True)]
    )
    return Examples(
        items=[listing.items[place] for place in places],
        targets=read.targets.values[places],
        digests=tuple(read.digests[place] for place in places),
        names=tuple(listing.names[place] for place in places),
        weights=None if listing.weights is None else np.array([listing.weights[place] for place in places], np.float32),
        groups=None if groups is None else tuple(groups[place] for place in places),
    )


def _parts(read: Read, cut: Cut) -> tuple[np.ndarray, tuple[DataWarning, ...]]:
    """The split of each of N examples; carves what the user did not give out of the training examples."""
    given = read.listing.splits
    parts = np.array(given if given is not None else ["train"] * len(read.listing), dtype="U5")
    pool = np.flatnonzero(parts == "train")
    if not len(pool):
        raise DataError("There must be a split 'train' to learn from, but there is none that can be read.")
    wanted = (("valid", cut.valid), ("test", cut.test))
    carved = {part: share for part, share in wanted if share > 0 and not (parts == part).any()}
    if not carved:
        return parts, ()
    pairs = np.concatenate([read.exact, read.near])
    units = joined(len(parts), pairs, read.listing.groups)[pool]
    shares = (1 - sum(carved.values()), *carved.values())
    keys = [read.digests[place] for place in pool]
    dealt = split(shares, read.targets.values[pool], read.targets.kind, keys, cut.seed, units)
    parts[pool] = np.array(("train", *carved))[dealt]
    missing = [part for part in ("train", *carved) if not (parts == part).any()]
    if missing:
        raise DataError(
            f"{len(pool)} examples in {len(np.unique(units))} independent groups are too few to set some aside for "
            f"'{missing[0]}'. Give more examples, or other shares."
        )
    return parts, _carving_note(read, pool)


def _carving_note(read: Read, pool: np.ndarray) -> tuple[DataWarning, ...]:
    """Says which copies were kept on one side."""
    inside = set(pool.tolist())
    copies = [pair for pair in np.concatenate([read.exact, read.near]).tolist() if inside.issuperset(pair)]
    if not copies:
        return ()
    names, same = read.listing.names, "look the same" if read.modality == "image" else "nearly so"
    return (
        DataWarning(
            code="copies-kept-together",
            message=f"{len(copies)} pair(s) of {read.noun} are equal or {same}; each pair stays within one split.",
            places=tuple(f"{names[a]} = {names[b]}" for a, b in copies),
            severity="note",
        ),
    )


def _origin(listing: Listing) -> str:
    if listing.splits is None:
        return "made by transfuse"
    return "given: " + ", ".join(part for part in SPLITS if part in listing.splits)
