"""Labelled sounds become a Task: the door for sounds, as `images` is for pictures.

Read every sound once -> leave out what cannot be learnt from, naming it -> find equal ones -> split -> check.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from transfuse.core.errors import DataError, UsageError
from transfuse.core.nouns import DataWarning, Examples, Kind, Task
from transfuse.core.runs import Run
from transfuse.tasks.assembling import NO_PAIRS, Cut, Read, assembled, labelled, name_of, of_task, only_split, whole
from transfuse.tasks.folders import list_folder
from transfuse.tasks.images.arrays import list_memory
from transfuse.tasks.images.layouts import Group
from transfuse.tasks.images.path_tables import list_table
from transfuse.tasks.listing import SOUNDS, Listing
from transfuse.tasks.name_groups import parted
from transfuse.tasks.sounds.reading import read_sounds
from transfuse.tasks.split_tables import TABLES, list_split_tables, split_tables


def open_sounds(
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
    """Open labelled sounds.

    `data`: a folder of class folders with sound files, with or without train/valid/test above them; a table (.csv,
    .jsonl, .parquet) with a column of paths, or a folder of such tables by split; a pair (sounds, targets) in memory,
    where a sound is a path, an encoded file or (samples, rate); or a Task, which is returned as it is.

    target: column(s) to learn; guessed where there is no doubt. path_column: guessed by its contents.
    kind: single-label, multi-label or regression; guessed from the targets, and stated.
    group: examples of one group, such as a speaker, never lie in two splits. A column; for folders a regular expression
    on the path. weight: column with the examples' weights.
    valid, test: shares of the data held out where the user gave no such split; `test=0` makes no test split.

    What cannot be used is named in `Task.warnings`. Raises `DataError` when nothing can be learnt.
    """
    if isinstance(data, Task):
        return data
    cut = Cut(seed=seed, valid=valid, test=test)
    listing = listed(data, target=target, path_column=path_column, group=group, weight=weight)
    options = {"group": group, "weight": weight}
    task = assembled(_read(listing, kind, None, run), cut, name=name or name_of(data, "sounds"), options=options)
    return task if listing.splits is None or group is not None else _warned(task)


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
    """Labelled sounds for evaluating a model that knows `classes`: see `tasks.images.opening.open_split`."""
    if isinstance(data, Task):
        return of_task(data, classes, split)
    listing = listed(data, target=target, path_column=path_column, group=group, weight=weight)
    return whole(_read(only_split(listing, split), kind, tuple(classes), run))


def listed(
    data: Any,
    *,
    target: str | Sequence[str] | None = None,
    path_column: str | None = None,
    group: Group = None,
    weight: str | Sequence[float] | None = None,
) -> Listing:
    """What `data` holds, whatever its layout. Raises `DataError` saying what can be opened."""
    if isinstance(data, tuple):
        return _of_memory(data, group, weight)
    if not isinstance(data, str | Path):
        raise UsageError(f"`data` must be a path or a pair (sounds, targets), but is of type {type(data).__name__}.")
    path = Path(data).expanduser()
    if not path.exists():
        raise DataError(f"There is no file or folder '{path}'.")
    tables = split_tables(path) if path.is_dir() else {}
    if path.is_dir() and not tables:
        listing = _of_folder(path, target, group, weight)
    elif tables or path.suffix.lower() in TABLES:
        named = {"target": target, "path_column": path_column, **_names(group, weight)}
        options: dict[str, Any] = {**named, "suffixes": SOUNDS, "noun": "sounds"}

        def read(one: Path) -> Listing:
            return list_table(one, **options)

        listing = list_split_tables(tables, read) if tables else read(path)
    else:
        raise DataError(f"'{path}' must be a folder or a table ({', '.join(TABLES)}), but ends in '{path.suffix}'.")
    return replace(listing, description={"data": str(path), "layout": listing.layout, **listing.description})


def _of_folder(path: Path, target: Any, group: Group, weight: Any) -> Listing:
    if target is not None or weight is not None:
        raise UsageError("`target` and `weight` name columns, but class folders have none. Leave them out.")
    if group is not None and not isinstance(group, str | Mapping):
        raise UsageError("`group` must be a regular expression or a mapping {path: group} for a folder.")
    return list_folder(path, group=group, suffixes=SOUNDS, noun="sounds")


def _names(group: Any, weight: Any) -> dict[str, Any]:
    for name, value in (("group", group), ("weight", weight)):
        if value is not None and not isinstance(value, str):
            raise UsageError(f"`{name}` must be the name of a column here, but is of type {type(value).__name__}.")
    return {"group": group, "weight": weight}


def _of_memory(data: tuple[Any, ...], group: Any, weight: Any) -> Listing:
    if len(data) != 2:
        raise UsageError(f"Data in memory must be a pair (sounds, targets), but has {len(data)} parts.")
    items = list(data[0])
    strange = next((item for item in items if not _is_sound(item)), None)
    if strange is not None:
        raise UsageError(
            "Sounds in memory must be paths, encoded files or pairs (samples, rate), but one is of type"
            f" {type(strange).__name__}."
        )
    return list_memory(items, data[1], group=group, weight=weight)


def _warned(task: Task) -> Task:
    """With a warning when the names of files say that the test split asks for groups that training does not hold."""
    names = {split: examples.names for split, examples in task.splits.items()}
    found = parted(names, task.splits["train"].targets)
    if found is None:
        return task
    message = (
        f"The names of files show groups: {found.words}. The validation split holds groups of the training split, so"
        " its figures flatter. Give the groups with --group (for folders a regular expression on the path)."
    )
    return replace(task, warnings=(*task.warnings, DataWarning(code="groups-in-names", message=message)))


def _is_sound(item: Any) -> bool:
    pair = isinstance(item, tuple) and len(item) == 2 and isinstance(item[0], np.ndarray)
    return isinstance(item, str | Path | bytes) or (pair and isinstance(item[1], int) and item[1] > 0)


def _read(listing: Listing, kind: Kind | None, classes: tuple[str, ...] | None, run: Run | None) -> Read:
    good, heard, targets = labelled(listing, kind, classes, lambda given: read_sounds(given, run))
    return Read(
        modality="sound",
        noun="sounds",
        listing=good,
        targets=targets,
        digests=heard.digests,
        exact=_equal(heard.digests),
        near=NO_PAIRS,
    )


def _equal(keys: Sequence[str]) -> np.ndarray:
    """Pairs (M, 2) of equal files; each copy is paired with the first of its kind."""
    first: dict[str, int] = {}
    pairs = [(first.setdefault(key, row), row) for row, key in enumerate(keys)]
    return np.array([pair for pair in pairs if pair[0] != pair[1]], np.int64).reshape(-1, 2)
