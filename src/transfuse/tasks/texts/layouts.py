"""Which reader opens texts: tables with a column of texts, class folders of `.txt`, saved datasets, memory."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transfuse.core.errors import DataError, UsageError
from transfuse.core.tables import chosen
from transfuse.tasks.folders import list_folder
from transfuse.tasks.images.layouts import Group
from transfuse.tasks.images.path_tables import Columns, listed_rows, read_columns
from transfuse.tasks.listing import Listing
from transfuse.tasks.opening import is_free_text
from transfuse.tasks.saved_datasets import columns_of, is_saved
from transfuse.tasks.split_tables import TABLES, list_split_tables, split_tables

SUFFIXES = frozenset({".txt", ".text", ".md"})
_TEXT_NAMES = (
    "text", "texts", "sentence", "utterance", "message", "content", "body", "review", "comment", "title", "question",
    "query", "document", "description",
)  # fmt: skip


def listed(
    data: Any,
    *,
    target: str | Sequence[str] | None = None,
    text_column: str | None = None,
    group: Group = None,
    weight: str | Sequence[float] | None = None,
    unlabelled: bool = False,
) -> Listing:
    """What `data` holds, whatever its layout. Raises `DataError` saying what can be opened."""
    if isinstance(data, tuple):
        return _of_memory(data, group, weight)
    if not isinstance(data, str | Path):
        raise UsageError(f"`data` must be a path or a pair (texts, targets), but is of type {type(data).__name__}.")
    path = Path(data).expanduser()
    if not path.exists():
        raise DataError(f"There is no file or folder '{path}'.")
    named = {"group": group, "weight": weight}
    tables = split_tables(path) if path.is_dir() and not is_saved(path) else {}
    if path.is_dir() and not tables and not is_saved(path):
        if target is not None or weight is not None:
            raise UsageError("`target` and `weight` name columns, but class folders have none. Leave them out.")
        if group is not None and not isinstance(group, str | Mapping):
            raise UsageError("`group` must be a regular expression or a mapping {path: group} for a folder.")
        listing = list_folder(path, group=group, suffixes=SUFFIXES, noun="texts")
        listing = replace(listing, items=[Path(item) for item in listing.items])
    elif path.is_dir() or path.suffix.lower() in TABLES:
        bad = next((name for name, value in named.items() if value is not None and not isinstance(value, str)), None)
        if bad:
            raise UsageError(f"`{bad}` must be the name of a column here, but is of type {type(named[bad]).__name__}.")
        if tables:
            listing = list_split_tables(tables, lambda one: _of_columns(one, target, text_column, named, unlabelled))
        else:
            listing = _of_columns(path, target, text_column, named, unlabelled)
    else:
        raise DataError(f"'{path}' must be a folder or a table ({', '.join(TABLES)}), but ends in '{path.suffix}'.")
    return replace(listing, description={"data": str(path), "layout": listing.layout, **listing.description})


def _of_columns(
    path: Path,
    target: str | Sequence[str] | None,
    text_column: str | None,
    named: Mapping[str, Any],
    unlabelled: bool,
) -> Listing:
    columns, extra = columns_of(path) if path.is_dir() else (read_columns(path), {})
    if not columns or not len(next(iter(columns.values()))):
        raise DataError(f"{path} must hold at least one row, but holds only a header or nothing.")
    texts = text_column or _guessed(columns, target, path)
    for name in (texts, *named.values()):
        if name is not None:
            chosen("column", name, columns)
    values = columns[texts]
    names = [f"row {row + 1} of {path}" for row in range(len(values))]
    rows: dict[str, Any] = {"labels": [0] * len(values), "description": {}}
    if not unlabelled:
        rows = {**listed_rows(columns, texts, path, target=target, **named), **extra}
    return Listing(
        layout="saved dataset" if path.is_dir() else "table",
        items=values,
        names=names,
        **{**rows, "description": {"text_column": texts, **rows["description"]}},
    )


def _guessed(columns: Columns, target: str | Sequence[str] | None, path: Path) -> str:
    """The column of texts: one of a usual name, of free text, or the only strings beside the target."""
    targets = {target} if isinstance(target, str) else set(target or ())
    strings = [
        name
        for name, values in columns.items()
        if name not in targets and any(isinstance(v, str) for v in values) and not all(v is None for v in values)
    ]
    free = [name for name in strings if is_free_text(columns[name])]
    usual = [name for wanted in _TEXT_NAMES for name in strings if name.lower() == wanted]
    if usual:
        return usual[0]
    if len(free) == 1 or (free and target is not None):
        return free[0]
    if not free and len(strings) == 1 and target is not None:
        return strings[0]
    raise DataError(
        f"{path} must have a column of texts, but which of {', '.join(columns)} it is cannot be told. Name it with"
        " `text_column`."
    )


def _of_memory(data: tuple[Any, ...], group: Any, weight: Any) -> Listing:
    if len(data) != 2:
        raise UsageError(f"Data in memory must be a pair (texts, targets), but has {len(data)} parts.")
    texts, targets = list(data[0]), data[1]
    wrong = next((text for text in texts if not isinstance(text, str | Path)), None)
    if wrong is not None:
        raise UsageError(f"Texts in memory must be strings or paths, but one is of type {type(wrong).__name__}.")
    for name, column in {"targets": targets, "group": group, "weight": weight}.items():
        if column is not None and (isinstance(column, str) or len(column) != len(texts)):
            raise UsageError(f"`{name}` must have one value for each of the {len(texts)} texts in memory.")
    rows = targets.tolist() if hasattr(targets, "tolist") else list(targets)
    several = bool(rows) and isinstance(rows[0], list) and all(isinstance(v, int | float) for row in rows for v in row)
    columns = tuple(map(str, range(len(rows[0])))) if several and hasattr(targets, "shape") else ()
    return Listing(
        layout="in memory",
        items=texts,
        names=[str(text) if isinstance(text, Path) else f"row {row}" for row, text in enumerate(texts)],
        labels=[tuple(row) for row in rows] if columns else rows,
        columns=columns,
        groups=None if group is None else [None if value is None else str(value) for value in group],
        weights=None if weight is None else [float(value) for value in weight],
    )
