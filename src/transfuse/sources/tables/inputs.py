"""Rows of tables as a network takes them (see `sources.inputs`): float32 (B, K), NaN for what is missing.

Behind the numbers of the columns stand those of texts and pictures that have sources of their own (`parts`).
Letters: B rows of a batch, K numbers of an encoded row, W numbers of a row with its parts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch

from transfuse.core.errors import DataError
from transfuse.core.nouns import DataWarning, TablePreprocessing
from transfuse.core.provenance import plain
from transfuse.sources.inputs import Refused
from transfuse.sources.tables import parts
from transfuse.tasks.limits import Limits, is_folder, require_plain
from transfuse.tasks.tables.encoding import slots_of
from transfuse.tasks.tables.given import read_table
from transfuse.tasks.tables.limiting import require_within
from transfuse.tasks.tables.opening import preprocessing_from, row_digests
from transfuse.tasks.tables.reading import table_of
from transfuse.tasks.tables.rows import Cells, Row, Rows, encoded_rows, rows_in_memory
from transfuse.tasks.tables.sql import is_database


def tensor_of(items: Sequence[Any], preprocessing: TablePreprocessing) -> torch.Tensor:
    """float32 (B, K), or (B, W)."""
    rows = torch.from_numpy(np.ascontiguousarray(encoded_rows(items, replace(preprocessing, parts=()))))
    return torch.cat([rows, *(parts.tensor_of(items, part) for part in preprocessing.parts)], 1)


def blank(preprocessing: TablePreprocessing, count: int) -> torch.Tensor:
    """Rows of missing cells."""
    rows = torch.full((count, len(slots_of(preprocessing))), torch.nan)
    return torch.cat([rows, *(parts.blank(part, count) for part in preprocessing.parts)], 1)


def blocks(items: Sequence[Any], preprocessing: TablePreprocessing, batch_size: int) -> list[np.ndarray]:
    """Consecutive rows, many at a time where rows are small; texts alone by their length."""
    if len(preprocessing.parts) == 1 and not preprocessing.columns:
        return parts.blocks(items, preprocessing.parts[0], batch_size)
    size = batch_size if preprocessing.parts else max(batch_size, 1024)
    return [np.arange(start, min(start + size, len(items))) for start in range(0, len(items), size)]


def bytes_each(preprocessing: TablePreprocessing) -> int:
    """As float32."""
    return 4 * (len(slots_of(preprocessing)) + sum(parts.width(part) for part in preprocessing.parts))


def decoded(item: Any, preprocessing: TablePreprocessing, limits: Limits) -> Any:
    """A row whose cells are of their columns' roles; raises `DataError` naming row and column otherwise."""
    if isinstance(item, Mapping):
        item = rows_in_memory([item])[0]
    if not isinstance(item, Row):
        raise DataError(f"A row must be a mapping from column to value, but is {type(item).__name__}.")
    needed = [*(c.name for c in preprocessing.columns if not c.absent), *(part.column for part in preprocessing.parts)]
    lacking = [name for name in dict.fromkeys(needed) if name not in item.cells.table.column_names]
    if lacking:
        raise DataError(f"A row must have the columns of the model, but lacks {', '.join(map(repr, lacking[:8]))}.")
    problem = item.cells.overlong(limits).get(item.place) or item.cells.problem(preprocessing, item.place)
    if problem:
        raise DataError(problem)
    for part in preprocessing.parts:
        parts.require_readable(item, part, limits)
    return item


def expanded(inputs: Any, limits: Limits | None) -> list[Any]:
    """One mapping from column to value, a sequence of them, or files and databases of rows."""
    if isinstance(inputs, Rows):
        return list(inputs)
    if isinstance(inputs, str | Path | Mapping | pa.Table) or hasattr(inputs, "columns"):
        inputs = [inputs]
    items: list[Any] = []
    for item in inputs:
        if isinstance(item, Row | Refused):
            items.append(item)
        elif isinstance(item, Mapping) and not _is_columns(item):
            items.append(_plain(item, f"row {len(items) + 1}", limits))
        else:
            items += _rows_of(item, limits)
    if not items:
        raise DataError("There must be at least one row to predict, but none was given or found.")
    alike: dict[frozenset[str], list[int]] = {}  # a row lacks what it lacks, whatever its neighbours have
    for place, item in enumerate(items):
        if isinstance(item, Mapping):
            alike.setdefault(frozenset(map(str, item)), []).append(place)
    for places in alike.values():
        for place, row in zip(places, rows_in_memory([items[p] for p in places]), strict=True):
            items[place] = row
    return items


def _rows_of(item: Any, limits: Limits | None) -> list[Any]:
    """The rows of a table; with limits, one thing that says why when its file cannot be read."""
    try:
        if limits is not None and isinstance(item, str | Path) and not is_database(item) and not is_folder(item):
            require_within(Path(item), limits)
        read = read_table(item)[0]
    except DataError as problem:
        if limits is None or not isinstance(item, str | Path):
            raise
        return [Refused(str(item), str(problem))]
    return list(Rows(Cells(read.table, read.folder), np.arange(read.table.num_rows)))


def _plain(row: Mapping[str, Any], name: str, limits: Limits | None) -> Any:
    try:
        if not row:
            raise DataError("A row must have the columns of the model, but has none.")
        require_plain(row, name, limits or Limits())
    except DataError as problem:
        return Refused(name, str(problem))
    return row


def traits(item: Any) -> dict[str, float]:
    """Nothing: what rows were like is kept column by column (`oddities`)."""
    return {}


def oddities(item: Any, preprocessing: TablePreprocessing) -> list[str]:
    """Numbers out of the training range, unseen categories, cells that were never missing."""
    return list(item.cells.oddities(preprocessing).get(item.place, ()))


def _is_columns(item: Mapping[str, Any]) -> bool:
    """Columns rather than one row: every value is a list or an array."""
    return bool(item) and all(isinstance(value, list | tuple | np.ndarray) for value in item.values())


def digests_of(items: Sequence[Any]) -> tuple[str, ...]:
    """By which a Task knows rows of these columns."""
    rows = [item.values() if isinstance(item, Row) else dict(item) for item in items]
    return row_digests(table_of(rows))


def described(preprocessing: TablePreprocessing) -> str:
    """The columns with their roles."""
    columns = [f"{c.name} ({c.role})" for c in preprocessing.columns if not c.absent]
    columns += [f"{part.column} ({parts.described(part)})" for part in preprocessing.parts]
    more = f" and {len(columns) - 30} more" if len(columns) > 30 else ""
    return f"rows with the columns {', '.join(columns[:30])}{more}"


def from_plain(document: Mapping[str, Any], folder: Path | None = None) -> TablePreprocessing:
    """From its plain form; files of its parts lie in folders of their own."""
    cells = parts.from_plain(document.get("parts", ()), folder)
    return replace(preprocessing_from(document), parts=cells)


def written(preprocessing: TablePreprocessing, folder: Path) -> dict[str, Any]:
    """The plain form; files of its parts are written into folders of their own."""
    return {**plain(preprocessing), "parts": parts.written(preprocessing.parts, folder)}


def notes_on(items: Sequence[Any], preprocessing: TablePreprocessing) -> tuple[DataWarning, ...]:
    """Categories of these rows that the source does not know: they are all one to it."""
    rows_NK = encoded_rows(items, replace(preprocessing, parts=()))
    places = []
    for place, slot in enumerate(slots_of(preprocessing)):
        share = float(np.mean(rows_NK[:, place] < 0)) if slot.values and len(rows_NK) else 0.0
        places += [f"{slot.column}: {share:.1%} of rows"] if share > 0 else []
    message = f"{len(places)} column(s) hold categories that the source does not know; they are taken as one."
    unknown = (DataWarning(code="unknown-categories", message=message, places=tuple(places)),) if places else ()
    return (*unknown, *(note for part in preprocessing.parts for note in parts.notes_on(items, part)))
