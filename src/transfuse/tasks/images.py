"""The door: labelled pictures of any layout become a Task with fixed, seeded, hashed splits.

Read every picture once -> leave out what cannot be learnt from, naming it -> find copies -> split -> check.
Letters: N examples; M pairs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from transfuse.core import digests
from transfuse.core.errors import DataError, UsageError
from transfuse.core.nouns import DataWarning, Examples, Kind, Task
from transfuse.core.runs import Run
from transfuse.tasks import checking
from transfuse.tasks.duplicates import exact_pairs, near_pairs
from transfuse.tasks.inspecting import Looks, inspect
from transfuse.tasks.layouts import Group, listed
from transfuse.tasks.listing import Listing, kept
from transfuse.tasks.splitting import joined, split
from transfuse.tasks.targets import Targets, encode, encode_as, without_missing

SPLITS = ("train", "valid", "test")


@dataclass(frozen=True, kw_only=True)
class _Read:
    """Examples that can be learnt from."""

    listing: Listing
    targets: Targets
    looks: Looks
    exact: np.ndarray
    """Pairs (M, 2) with equal pixels."""
    near: np.ndarray
    """Pairs (M, 2) that look the same."""


def open_images(
    data: Any,
    *,
    target: str | Sequence[str] | None = None,
    path_column: str | None = None,
    kind: Kind | None = None,
    group: Group = None,
    weight: str | Sequence[float] | None = None,
    seed: int = 0,
    valid: float = 0.2,
    test: float = 0.2,
    name: str | None = None,
    run: Run | None = None,
) -> Task:
    """Open labelled pictures.

    `data`: a folder of class folders, with or without train/valid/test above them; a table (.csv, .jsonl, .parquet)
    with a column of paths; a COCO file or folder; .npy or .npz arrays; a saved `datasets` directory; a pair
    (pictures, targets) in memory; or a Task, which is returned as it is.

    target: column(s) or array to learn; guessed where there is no doubt.
    path_column: column with the pictures' paths; guessed by its contents.
    kind: single-label, multi-label or regression; guessed from the targets, and stated.
    group: examples of one group never lie in two splits. A column; for folders a regular expression on the path.
    weight: column with the examples' weights.
    valid, test: shares of the data held out where the user gave no such split; `test=0` makes no test split.

    What cannot be used is named in `Task.warnings`. Raises `DataError` when nothing can be learnt.
    """
    if isinstance(data, Task):
        return data
    _check_shares(valid, test)
    run = run or Run()
    listing = listed(data, target=target, path_column=path_column, group=group, weight=weight)
    read = _read(listing, kind, None, run)
    parts, notes = _parts(read, seed, valid, test)
    warnings = (
        *read.listing.warnings,
        *notes,
        *checking.targets_warnings(read.targets, parts),
        *checking.copies_warnings(read.listing, read.targets, parts, read.exact, read.near),
        *checking.groups_warnings(read.listing, parts),
    )
    splits = {part: _examples(read, np.flatnonzero(parts == part)) for part in SPLITS if (parts == part).any()}
    options = {"group": group, "weight": weight, "valid": valid, "test": test, "splits": _origin(read.listing)}
    return Task(
        name=name or _name(data),
        kind=read.targets.kind,
        classes=read.targets.classes,
        splits=splits,
        seed=seed,
        digest=task_digest(read.targets.kind, read.targets.classes, splits),
        warnings=warnings,
        description={
            **read.listing.description,
            **{k: v for k, v in options.items() if isinstance(v, str | float | int)},
        },
    )


def open_split(
    data: Any,
    *,
    classes: Sequence[str],
    kind: Kind,
    split: str = "test",
    target: str | Sequence[str] | None = None,
    path_column: str | None = None,
    group: Group = None,
    weight: str | Sequence[float] | None = None,
    run: Run | None = None,
) -> tuple[Examples, tuple[DataWarning, ...]]:
    """Labelled examples for evaluating a model that knows `classes`, with targets in the model's order.

    Data with splits of their own (a root with `test/`, a column `split`, a Task) give the split asked for; data
    without (such as the folder `photos/test`) are taken whole. Raises `DataError` for a class that the model does not
    know, and for a split that the data do not have.
    """
    if isinstance(data, Task):
        return _of_task(data, classes, split)
    listing = listed(data, target=target, path_column=path_column, group=group, weight=weight)
    if listing.splits is not None:
        places = [place for place, part in enumerate(listing.splits) if part == split]
        if not places:
            there = ", ".join(sorted(set(listing.splits)))
            raise DataError(f"The data must have a split '{split}', but have {there}. Choose one of these.")
        listing = kept(listing, places)
    read = _read(listing, kind, tuple(classes), run or Run())
    warnings = (
        *read.listing.warnings,
        *checking.copies_warnings(read.listing, read.targets, np.full(len(read.listing), split), read.exact, read.near),
    )
    return _examples(read, np.arange(len(read.listing))), warnings


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


def _read(listing: Listing, kind: Kind | None, classes: tuple[str, ...] | None, run: Run) -> _Read:
    listing = without_missing(listing)
    if classes is None:
        targets, notes = encode(listing, kind)
    elif kind is not None:
        targets, notes = encode_as(listing, kind, classes), ()
    good, looks = inspect(listing, run)
    if len(good) < len(listing):
        targets = encode(good, targets.kind)[0] if classes is None else encode_as(good, targets.kind, classes)
    good = replace(good, warnings=(*notes, *good.warnings))
    return _Read(listing=good, targets=targets, looks=looks, exact=exact_pairs(looks), near=near_pairs(looks))


def _parts(read: _Read, seed: int, valid: float, test: float) -> tuple[np.ndarray, tuple[DataWarning, ...]]:
    """The split of each of N examples; carves what the user did not give out of the training examples."""
    given = read.listing.splits
    parts = np.array(given if given is not None else ["train"] * len(read.listing), dtype="U5")
    pool = np.flatnonzero(parts == "train")
    if not len(pool):
        raise DataError("There must be a split 'train' to learn from, but there is none that can be read.")
    carved = {
        part: share for part, share in (("valid", valid), ("test", test)) if share > 0 and not (parts == part).any()
    }
    if not carved:
        return parts, ()
    pairs = np.concatenate([read.exact, read.near])
    units = joined(len(parts), pairs, read.listing.groups)[pool]
    shares = (1 - sum(carved.values()), *carved.values())
    keys = [read.looks.digests[place] for place in pool]
    dealt = split(shares, read.targets.values[pool], read.targets.kind, keys, seed, units)
    parts[pool] = np.array(("train", *carved))[dealt]
    missing = [part for part in ("train", *carved) if not (parts == part).any()]
    if missing:
        raise DataError(
            f"{len(pool)} examples in {len(np.unique(units))} independent groups are too few to set some aside for "
            f"'{missing[0]}'. Give more examples, or other shares."
        )
    return parts, _carving_note(read, pool, units)


def _carving_note(read: _Read, pool: np.ndarray, units: np.ndarray) -> tuple[DataWarning, ...]:
    """Says which copies were kept on one side."""
    inside = set(pool.tolist())
    copies = [pair for pair in np.concatenate([read.exact, read.near]).tolist() if inside.issuperset(pair)]
    if not copies:
        return ()
    names = read.listing.names
    return (
        DataWarning(
            code="copies-kept-together",
            message=f"{len(copies)} pair(s) of pictures are equal or look the same; each pair stays within one split.",
            places=tuple(f"{names[a]} = {names[b]}" for a, b in copies),
            severity="note",
        ),
    )


def _examples(read: _Read, places: np.ndarray) -> Examples:
    listing = read.listing
    groups = (
        None
        if listing.groups is None
        else [g if g is not None else n for g, n in zip(listing.groups, listing.names, strict=True)]
    )
    return Examples(
        items=[listing.items[place] for place in places],
        targets=read.targets.values[places],
        digests=tuple(read.looks.digests[place] for place in places),
        names=tuple(listing.names[place] for place in places),
        weights=None if listing.weights is None else np.array([listing.weights[place] for place in places], np.float32),
        groups=None if groups is None else tuple(groups[place] for place in places),
    )


def _of_task(task: Task, classes: Sequence[str], split: str) -> tuple[Examples, tuple[DataWarning, ...]]:
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


def _check_shares(valid: float, test: float) -> None:
    if not (0 < valid < 1 and 0 <= test < 1 and valid + test < 1):
        raise UsageError(
            f"`valid` must be above 0, `test` at least 0, and their sum below 1, but they are {valid:g} and {test:g}."
        )


def _origin(listing: Listing) -> str:
    return (
        "made by transfuse"
        if listing.splits is None
        else "given: " + ", ".join(p for p in SPLITS if p in listing.splits)
    )


def _name(data: Any) -> str:
    return Path(data).expanduser().resolve().stem if isinstance(data, str | Path) else "pictures"
