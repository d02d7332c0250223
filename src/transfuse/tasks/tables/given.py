"""What a user gives as a table: a file, a folder of split files, a database, rows in memory."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from transfuse.core.errors import DataError, UsageError
from transfuse.tasks.listing import SPLIT_NAMES
from transfuse.tasks.tables import cells as tables_cells
from transfuse.tasks.tables import reading as tables_reading
from transfuse.tasks.tables import sql as tables_sql
from transfuse.tasks.tables.reading import Read


def read_table(data: Any, query: str | None = None) -> tuple[Read, np.ndarray | None]:
    """The table, and the split of each row where the data are a folder of split files."""
    if isinstance(data, Read):
        return data, None
    if tables_sql.is_database(data):
        return tables_sql.read_database(data, query), None
    if query is not None:
        raise UsageError(f"`query` goes with databases, but '{data}' is none.")
    if isinstance(data, str | Path):
        path = Path(data).expanduser()
        found, splits = _read_folder(path) if path.is_dir() else (tables_reading.read_file(path), None)
        return replace(found, folder=path if path.is_dir() else path.parent), splits
    return tables_reading.checked(Read(table=_in_memory(data), place="the table")), None


def _in_memory(data: Any) -> pa.Table:
    if isinstance(data, pa.Table):
        return data
    if isinstance(data, tuple) and len(data) == 2:
        return _with_target(*data)
    if hasattr(data, "__dataframe__") or hasattr(data, "to_dict"):  # pandas, polars
        return (
            pa.table(data) if hasattr(data, "__arrow_c_stream__") else pa.Table.from_pandas(data, preserve_index=False)
        )
    if isinstance(data, Mapping):
        return pa.table({str(name): pa.array(list(values), from_pandas=True) for name, values in data.items()})
    if isinstance(data, Sequence) and data and all(isinstance(row, Mapping) for row in data):
        return tables_reading.table_of([dict(row) for row in data])
    raise UsageError(f"A table must be a file, a database or rows that are mappings, but is {type(data).__name__}.")


def _with_target(rows: Any, targets: Any) -> pa.Table:
    """Rows and their targets beside each other; the target is called `target`."""
    if isinstance(rows, np.ndarray):
        rows = {f"column {place + 1}": rows[:, place] for place in range(rows.shape[1])}
    table = _in_memory(rows)
    values = np.asarray(targets)
    if len(values) != table.num_rows or values.ndim != 1:
        raise UsageError(f"There must be one target for each of {table.num_rows} rows, but they are {values.shape}.")
    return table.append_column("target", pa.array(values.tolist()))


def _read_folder(folder: Path) -> tuple[Read, np.ndarray]:
    """Files called train, valid, test (or the like) of one table."""
    files = {
        SPLIT_NAMES[path.stem.lower()]: path
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in tables_reading.SUFFIXES and path.stem.lower() in SPLIT_NAMES
    }
    if "train" not in files:
        raise DataError(f"'{folder}' must hold a table called train.csv (or .parquet, .jsonl), but holds none.")
    reads = {part: tables_reading.read_file(path) for part, path in files.items()}
    names = list(reads["train"].table.column_names)
    for _part, read in reads.items():
        lacking = [name for name in names if name not in read.table.column_names]
        if lacking:
            raise DataError(f"{read.place} must have the columns of {reads['train'].place}, but lacks '{lacking[0]}'.")
    tables = [read.table.select(names) for read in reads.values()]
    if any(table.schema != tables[0].schema for table in tables):
        tables = [pa.table({name: tables_cells.texts(table.column(name)) for name in names}) for table in tables]
    splits = np.concatenate([np.full(read.table.num_rows, part) for part, read in reads.items()])
    notes = tuple(note for read in reads.values() for note in read.notes)
    return Read(table=pa.concat_tables(tables), place=str(folder), notes=notes), splits


def name_of(data: Any) -> str:
    """What a table is called when the user does not say."""
    if isinstance(data, str | Path):
        return Path(tables_sql.without_password(str(data)).partition("?")[0]).stem
    return "table"
