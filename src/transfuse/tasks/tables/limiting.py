"""Whether a table's file is small enough to be read: counted in its bytes, before any of them becomes a cell."""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from transfuse.core.errors import DataError
from transfuse.tasks.limits import Limits, require_file, too_much

_BLOCK = 1 << 22
_NAME = 256  # characters of a column's name that a header may spend on it, on average
_SWOLLEN = 8  # times its file's limit that a compressed table may take in memory
_BATCH = 256


def require_within(path: Path, limits: Limits) -> None:
    """Raise `DataError` with the reason for a table that must not be read."""
    require_file(path, limits)
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        _require_parquet(path, limits)
    elif suffix in (".json", ".jsonl", ".ndjson"):
        _require_depth(path, limits)
    else:
        _require_header(path, limits)
    if suffix != ".parquet":
        rows = sum(block.count(b"\n") for block in _blocks(path))
        _require("rows", rows, limits.rows, path)


def overlong(table: pa.Table, limits: Limits) -> dict[int, str]:
    """Why a row must not be looked at, by row: its first cell with too many characters."""
    found: dict[int, str] = {}
    for name, cell_N in zip(table.column_names, table.columns, strict=True):
        if not pa.types.is_string(cell_N.type) and not pa.types.is_large_string(cell_N.type):
            continue
        lengths_N = pc.fill_null(pc.utf8_length(cell_N), 0).to_numpy()
        for row in np.flatnonzero(lengths_N > limits.characters).tolist():
            where = f"Row {row + 1}, column '{name}'"
            found.setdefault(row, too_much(where, "characters", int(lengths_N[row]), limits.characters))
    return found


def _require(what: str, found: int, most: int, path: Path) -> None:
    if found > most:
        raise DataError(too_much(str(path), what, found, most))


def _require_header(path: Path, limits: Limits) -> None:
    """The header's cells are counted in no more bytes than so many columns would need."""
    most = limits.columns * _NAME
    with path.open("rb") as file:
        head = file.read(most + 1)
    reader = csv.reader(io.StringIO(head.decode("latin-1").replace("\x00", ""), newline=""))
    line = head[: most + 1].partition(b"\n")[0]
    try:
        cells = len(next(reader, []))
    except csv.Error:  # a name of more than 131,072 characters
        raise DataError(f"{path} must have a header of short names, but one of them has no end.") from None
    columns = max(cells, *(line.count(mark) + 1 for mark in (b",", b";", b"\t", b"|")))
    if columns > limits.columns or len(line) > most:
        raise DataError(too_much(str(path), "columns", f"more than {limits.columns:,}", limits.columns))


def _require_depth(path: Path, limits: Limits) -> None:
    """Brackets that are open at once, outside of strings, and not more than there may be."""
    inside, level, escaped = 0, 0, b""
    for block in _blocks(path):
        # without escaped characters a quotation mark begins or ends a string
        text = escaped + block
        escaped = b"\\" if (len(text) - len(text.rstrip(b"\\"))) % 2 else b""
        text = text[: len(text) - len(escaped)].replace(b"\\\\", b"").replace(b'\\"', b"")
        marks = np.frombuffer(text, np.uint8)
        quotes = (np.cumsum(marks == ord('"')) + inside) % 2
        steps = np.isin(marks, (ord("["), ord("{"))).astype(np.int8) - np.isin(marks, (ord("]"), ord("}")))
        levels = level + np.cumsum(np.where(quotes == 0, steps, 0))
        if len(levels):
            if levels.max() > limits.depth:
                raise DataError(f"{path} must be nested at most {limits.depth} levels deep, but goes deeper.")
            inside, level = int(quotes[-1]), int(levels[-1])


def _require_parquet(path: Path, limits: Limits) -> None:
    """Rows and columns by what the file says; the memory they take by decoding a few at a time."""
    try:
        file = pyarrow.parquet.ParquetFile(path)
        _require("columns", file.metadata.num_columns, limits.columns, path)
        _require("rows", file.metadata.num_rows, limits.rows, path)
        size, rows = 0, 0
        for batch in file.iter_batches(batch_size=_BATCH):
            size, rows = size + batch.nbytes, rows + batch.num_rows
            _require("rows", rows, limits.rows, path)
            if size > _SWOLLEN * limits.bytes:
                raise DataError(
                    f"{path} must take at most {_SWOLLEN * limits.bytes:,} bytes in memory, but takes more: a few bytes"
                    " of it stand for many. Raise the limit (--limit bytes=NUMBER) if you trust it."
                )
    except (pa.ArrowException, OSError, ValueError) as problem:
        raise DataError(f"{path} cannot be read as a table: {str(problem).splitlines()[0].rstrip('.')}.") from None


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            yield block
