"""Which reader opens what the user points at."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transfuse.core.errors import DataError, UsageError
from transfuse.tasks.folders import list_folder
from transfuse.tasks.images.arrays import list_arrays, list_memory
from transfuse.tasks.images.coco import is_coco, list_coco, list_coco_folder
from transfuse.tasks.images.path_tables import list_table
from transfuse.tasks.listing import Listing
from transfuse.tasks.saved_datasets import is_saved, list_saved
from transfuse.tasks.split_tables import TABLES, list_split_tables, split_tables

Group = str | Mapping[str, str] | Sequence[Any] | None
"""A column; for folders a regular expression on the path, or {path: group}; in memory one value for each picture."""


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
        if len(data) != 2:
            raise UsageError(f"Data in memory must be a pair (pictures, targets), but has {len(data)} parts.")
        return list_memory(*data, group=_sequence(group, "group"), weight=_sequence(weight, "weight"))
    if not isinstance(data, str | Path):
        raise UsageError(f"`data` must be a path or a pair (pictures, targets), but is of type {type(data).__name__}.")
    path = Path(data).expanduser()
    if not path.exists():
        raise DataError(f"There is no file or folder '{path}'.{_nearest(path)}")
    if path.is_dir() and (tables := split_tables(path)):
        listing = list_split_tables(tables, lambda one: _of_file(one, target, path_column, group, weight))
    elif path.is_dir():
        listing = _of_folder(path, target, group, weight)
    else:
        listing = _of_file(path, target, path_column, group, weight)
    return replace(listing, description={"data": str(path), "layout": listing.layout, **listing.description})


def _of_folder(path: Path, target: str | Sequence[str] | None, group: Group, weight: Any) -> Listing:
    if is_saved(path):
        return list_saved(path, target=target, group=_name(group, "group"), weight=_name(weight, "weight"))
    if coco := list_coco_folder(path):
        _refuse(group=group, weight=weight)
        return coco
    _refuse(target=target, weight=weight)
    if group is not None and not isinstance(group, str | Mapping):
        raise UsageError("`group` must be a regular expression or a mapping {path: group} for a folder.")
    return list_folder(path, group=group)


def _of_file(
    path: Path, target: str | Sequence[str] | None, path_column: str | None, group: Group, weight: Any
) -> Listing:
    suffix = path.suffix.lower()
    if suffix in (".npy", ".npz"):
        return list_arrays(
            path, target=_name(target, "target"), group=_name(group, "group"), weight=_name(weight, "weight")
        )
    if suffix == ".json" and is_coco(path):
        _refuse(group=group, weight=weight)
        return list_coco({None: path})
    if suffix in TABLES:
        return list_table(
            path, target=target, path_column=path_column, group=_name(group, "group"), weight=_name(weight, "weight")
        )
    raise DataError(f"'{path}' must be a folder, a table ({', '.join(TABLES)}), .npy or .npz, but ends in '{suffix}'.")


def _refuse(**options: Any) -> None:
    given = [name for name, value in options.items() if value is not None]
    if given:
        raise UsageError(f"`{given[0]}` names a column, but this layout has no columns. Leave it out, or give a table.")


def _name(value: Any, option: str) -> str | None:
    if value is not None and not isinstance(value, str):
        raise UsageError(f"`{option}` must be the name of a column here, but is of type {type(value).__name__}.")
    return value


def _sequence(value: Any, option: str) -> Sequence[Any] | None:
    if isinstance(value, str | Mapping):
        raise UsageError(f"`{option}` must have one value for each picture in memory, but is {json.dumps(value)}.")
    return value


def _nearest(path: Path) -> str:
    beside = [other.name for other in path.parent.iterdir()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, beside, n=1)
    return f" Did you mean '{path.parent / near[0]}'?" if near else ""
