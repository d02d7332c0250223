"""Rows of a table as a sequence of examples, encoded once for each preprocessing.

Letters: N rows, K numbers of an encoded row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, overload

import numpy as np
import pyarrow as pa

from transfuse.core.errors import DataError
from transfuse.core.nouns import TablePreprocessing
from transfuse.tasks.limits import Limits
from transfuse.tasks.tables.encoding import encoded, strange_cells
from transfuse.tasks.tables.limiting import overlong
from transfuse.tasks.tables.oddities import oddities
from transfuse.tasks.tables.reading import table_of

_KEPT = 8  # encodings that are kept: one for each source of a fit


class Cells:
    """A table with what was encoded of it; paths in its cells begin at `folder`."""

    def __init__(self, table: pa.Table, folder: Path | None = None) -> None:
        self.table, self.folder = table, folder
        self._encoded: dict[int, _Encoded] = {}
        self._odd: tuple[TablePreprocessing, dict[int, list[str]]] | None = None
        self._overlong: tuple[Limits, dict[int, str]] | None = None

    def encoded(self, preprocessing: TablePreprocessing, places: np.ndarray | None = None) -> np.ndarray:
        """Rows as numbers, float32 (N, K): those at `places`, or all.

        Raises `DataError` for a cell of theirs that is not of its column's role.
        """
        found = self._of(preprocessing)
        if found.strange:
            wanted = range(self.table.num_rows) if places is None else places.tolist()
            wrong = next((place for place in wanted if place in found.strange), None)
            if wrong is not None:
                raise DataError(found.strange[wrong])
        return found.x_NK if places is None else found.x_NK[places]

    def problem(self, preprocessing: TablePreprocessing, place: int) -> str:
        """Why a row cannot be encoded; nothing when it can."""
        return self._of(preprocessing).strange.get(place, "")

    def oddities(self, preprocessing: TablePreprocessing) -> dict[int, list[str]]:
        """What of a row was not met where the columns were learnt, by row."""
        if self._odd is None or self._odd[0] is not preprocessing:
            self._odd = (preprocessing, oddities(self.table, preprocessing))
        return self._odd[1]

    def overlong(self, limits: Limits) -> dict[int, str]:
        """Why a row is not looked at, by row: a cell that is longer than it may be."""
        if self._overlong is None or self._overlong[0] is not limits:
            self._overlong = (limits, overlong(self.table, limits))
        return self._overlong[1]

    def _of(self, preprocessing: TablePreprocessing) -> "_Encoded":
        if id(preprocessing) not in self._encoded:
            same = next((known for known in self._encoded.values() if known.preprocessing == preprocessing), None)
            while len(self._encoded) >= _KEPT:
                self._encoded.pop(next(iter(self._encoded)))
            made = (
                _Encoded.made(self.table, preprocessing) if same is None else replace(same, preprocessing=preprocessing)
            )
            self._encoded[id(preprocessing)] = made
        return self._encoded[id(preprocessing)]


@dataclass(frozen=True, kw_only=True)
class _Encoded:
    """A whole table as numbers."""

    preprocessing: TablePreprocessing
    """Kept, so that its id is no other's."""
    x_NK: np.ndarray
    strange: dict[int, str]
    """Why a row cannot be encoded, by row."""

    @staticmethod
    def made(table: pa.Table, preprocessing: TablePreprocessing) -> "_Encoded":
        try:
            return _Encoded(preprocessing=preprocessing, x_NK=encoded(table, preprocessing), strange={})
        except DataError:
            x_NK = encoded(table, preprocessing, strict=False)  # raises again when a column is missing
            return _Encoded(preprocessing=preprocessing, x_NK=x_NK, strange=strange_cells(table, preprocessing))


def cells_of(items: Sequence[Any], column: str, *, paths: bool = False) -> list[Any]:
    """The cells of one column of rows, or of mappings from column to cell; paths from where the table lies."""
    if any(isinstance(item, Mapping) for item in items):
        items = rows_in_memory(items)
    found = []
    for item in items:
        cell = item.cells.table.column(column)[item.place].as_py()
        found.append(cell if cell is None or not paths else Path(item.cells.folder or "", str(cell)))
    return found


class Row:
    """One row of a table."""

    __slots__ = ("cells", "place")

    def __init__(self, cells: Cells, place: int) -> None:
        self.cells, self.place = cells, place

    def values(self) -> dict[str, Any]:
        """Cells by column."""
        return {name: self.cells.table.column(name)[self.place].as_py() for name in self.cells.table.column_names}

    def __repr__(self) -> str:
        return f"row {self.place + 1}"


class Rows(Sequence[Row]):
    """Some rows of a table, in an order of their own."""

    def __init__(self, cells: Cells, places: np.ndarray) -> None:
        self.cells, self.places = cells, places

    def __len__(self) -> int:
        return len(self.places)

    @overload
    def __getitem__(self, index: int) -> Row: ...

    @overload
    def __getitem__(self, index: slice) -> "Rows": ...

    def __getitem__(self, index: int | slice) -> "Row | Rows":
        if isinstance(index, slice):
            return Rows(self.cells, self.places[index])
        return Row(self.cells, int(self.places[index]))


def encoded_rows(items: Sequence[Any], preprocessing: TablePreprocessing) -> np.ndarray:
    """Rows, or mappings from column to cell, as numbers: float32 (N, K). Raises `DataError` naming row and column."""
    if isinstance(items, Rows):
        return items.cells.encoded(preprocessing, items.places)
    if items and all(isinstance(item, Row) for item in items):
        groups = {id(item.cells): item.cells for item in items}
        if len(groups) == 1:
            cells = next(iter(groups.values()))
            return cells.encoded(preprocessing, np.array([item.place for item in items]))
        return _of_several(items, list(groups.values()), preprocessing)
    strange = next((item for item in items if not isinstance(item, Mapping)), None)
    if strange is not None:
        raise DataError(f"A row must be a mapping from column to value, but is {type(strange).__name__}.")
    return encoded(rows_in_memory(items).cells.table, preprocessing)


def _of_several(items: Sequence[Row], tables: Sequence[Cells], preprocessing: TablePreprocessing) -> np.ndarray:
    """Rows of several tables, in the order of the items."""
    found: np.ndarray | None = None
    for cells in tables:
        mine = np.array([place for place, item in enumerate(items) if item.cells is cells])
        x_NK = cells.encoded(preprocessing, np.array([items[place].place for place in mine]))
        found = np.empty((len(items), x_NK.shape[1]), np.float32) if found is None else found
        found[mine] = x_NK
    assert found is not None
    return found


def rows_in_memory(items: Sequence[Mapping[str, Any]]) -> Rows:
    """Mappings from column to cell as rows."""
    table = table_of([dict(item) for item in items])
    return Rows(Cells(table), np.arange(table.num_rows))
