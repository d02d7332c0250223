"""Tables from files: CSV, TSV, JSON lines, JSON, Parquet, into one pyarrow table whose cells are as they were written.

CSV cells stay texts: which columns are numbers is decided later, once, by their role. Trouble is named by row and
column; row 1 is the first below the header. Letters: N rows, K columns.
"""

import csv
import io
import itertools
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet

from transfuse.core.errors import DataError
from transfuse.core.nouns import DataWarning

BLANKS = ("", "NA", "N/A", "n/a", "NaN", "nan", "null", "NULL", "None", "#N/A", "<NA>", "?")
"""Texts that stand for a missing cell everywhere."""
SUFFIXES = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json", ".parquet")
_DELIMITERS = ",;\t|"
_LOOKED_AT = 50  # lines by which the delimiter is told
_LINE = 100_000  # characters of each
_TORN = 0.05  # share of rows with too many or too few cells above which the file is not what it seems


@dataclass(frozen=True, kw_only=True)
class Read:
    """A table as found."""

    table: pa.Table
    """Columns of text, numbers, truth values or points in time."""
    place: str
    """Where it was read, for people; without passwords."""
    notes: tuple[DataWarning, ...] = ()
    folder: Path | None = None
    """Where paths in its cells begin; None for the working folder."""


def read_file(path: Path) -> Read:
    """A table from a file; raises `DataError` naming row and column of what cannot be read."""
    if not path.is_file():
        raise DataError(f"There is no file '{path}'.")
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            found = Read(table=pyarrow.parquet.read_table(path), place=str(path))
        elif suffix in (".jsonl", ".ndjson", ".json"):
            found = _read_json(path)
        else:
            found = _read_csv(path)
    except RecursionError:
        raise DataError(f"{path} cannot be read as a table: lists or objects are nested too deeply.") from None
    except (pa.ArrowException, OSError, ValueError, csv.Error) as problem:
        raise DataError(f"{path} cannot be read as a table: {str(problem).splitlines()[0].rstrip('.')}.") from None
    return checked(found)


def checked(read: Read) -> Read:
    """The table with named, distinct columns of plain kinds; raises `DataError` when there is nothing to learn from."""
    names = [name.strip() or f"column {place + 1}" for place, name in enumerate(read.table.column_names)]
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        places = [str(place + 1) for place, name in enumerate(names) if name == twice[0]]
        raise DataError(
            f"{read.place} must name each column once, but columns {' and '.join(places)} are both '{twice[0]}'. Rename"
            " one."
        )
    if len(names) < 2:
        raise DataError(
            f"{read.place} must have a target column and at least one other, but has one column: '{names[0]}'. If"
            f" there are more, they must be separated by one of {', '.join(map(repr, _DELIMITERS))}."
            if names
            else f"{read.place} must have columns, but has none."
        )
    if not read.table.num_rows:
        raise DataError(f"{read.place} must have rows, but has only the header {', '.join(names[:8])}.")
    columns = [plain(column) for column in read.table.combine_chunks().columns]
    return Read(table=pa.table(dict(zip(names, columns, strict=True))), place=read.place, notes=read.notes)


def plain(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """A column as text without blanks around it, float64, int64, truth values, or microseconds; blanks are missing."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return plain(pc.cast(column, kind.value_type))
    if pa.types.is_boolean(kind):
        return column
    if pa.types.is_integer(kind):
        return column.cast(pa.float64() if kind == pa.uint64() else pa.int64())
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers = column.cast(pa.float64())
        return pc.if_else(pc.is_nan(numbers), pa.scalar(None, pa.float64()), numbers)
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return column.cast(pa.timestamp("us"), safe=False)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        text = pc.utf8_trim_whitespace(column.cast(pa.string()))
        return pc.if_else(pc.is_in(text, value_set=pa.array(BLANKS)), pa.scalar(None, pa.string()), text)
    if pa.types.is_null(kind):
        return column.cast(pa.string())
    return pa.chunked_array([pa.array([None if value is None else _spoken(value) for value in column.to_pylist()])])


def _spoken(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def _read_csv(path: Path) -> Read:
    text, notes = _decoded(path)
    if not text.strip():
        raise DataError(f"{path} must hold a header and rows, but is empty.")
    delimiter = delimiter_of(text)
    content = text.encode()
    longest = max(map(len, content.split(b"\n")))
    torn: list[Any] = []

    def note(row: Any) -> str:
        torn.append(row)
        return "skip"

    table = pyarrow.csv.read_csv(
        io.BytesIO(content),
        read_options=pyarrow.csv.ReadOptions(block_size=max(1 << 22, 2 * longest), use_threads=False),
        parse_options=pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=note),
        convert_options=pyarrow.csv.ConvertOptions(
            column_types=dict.fromkeys(_header(text, delimiter), pa.string()), strings_can_be_null=False
        ),
    )
    return Read(table=table, place=str(path), notes=(*notes, *_about_torn(path, torn, table)))


def _header(text: str, delimiter: str) -> list[str]:
    return next(csv.reader(io.StringIO(text), delimiter=delimiter))


def _about_torn(path: Path, torn: list[Any], table: pa.Table) -> tuple[DataWarning, ...]:
    """A warning that names rows with too many or too few cells; an error when they are many."""
    if not torn:
        return ()
    spoken = [f"line {row.number}: {row.actual_columns} cells instead of {row.expected_columns}" for row in torn]
    if len(torn) > _TORN * (len(torn) + table.num_rows):
        raise DataError(
            f"{path} must have {torn[0].expected_columns} cells in every row, as its header has, but {len(torn)} rows"
            f" have not: {'; '.join(spoken[:3])}. Quote cells that hold the delimiter."
        )
    message = f"{len(torn)} rows have too many or too few cells and are left out."
    return (DataWarning(code="torn-row", message=message, places=tuple(spoken)),)


def delimiter_of(text: str) -> str:
    """The character that cuts the first lines into equally many cells, at least two; of several the one with most."""
    # a cut line may end within a quoted cell, which csv takes as it is; uncut it refuses cells of 131,072 characters
    lines = list(itertools.islice((line[:_LINE] for line in io.StringIO(text) if line.strip()), _LOOKED_AT))
    scores = {}
    for delimiter in _DELIMITERS:
        widths = [len(row) for row in csv.reader(lines, delimiter=delimiter)]
        alike = sum(width == widths[0] for width in widths) / len(widths)
        scores[delimiter] = (widths[0] > 1, round(alike, 1), widths[0])
    return max(scores, key=lambda delimiter: scores[delimiter])


def _decoded(path: Path) -> tuple[str, tuple[DataWarning, ...]]:
    """The text of a file: UTF-8, UTF-16 by its mark, else Windows-1252 with a warning that names the place."""
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        return data.decode("utf-16"), ()
    data = data.removeprefix(b"\xef\xbb\xbf")
    at = data.find(b"\x00")
    if at >= 0:
        raise DataError(
            f"{path} must hold text, but {_where(data, at)} holds a NUL byte: it is damaged, binary, or UTF-16 without"
            " its mark. Save it as UTF-8."
        )
    try:
        return data.decode(), ()
    except UnicodeDecodeError as problem:
        where = _where(data, problem.start)
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError as problem:
        where = _where(data, problem.start)
        raise DataError(
            f"{path} must be UTF-8, but {where} is neither that nor Windows-1252. Save it as UTF-8."
        ) from None
    message = (
        f"The file is not UTF-8 (first at {where}); it is taken as Windows-1252. Save it as UTF-8 if that is wrong."
    )
    return text, (DataWarning(code="encoding-guessed", message=message, places=(where,)),)


def _where(data: bytes, at: int) -> str:
    """`row 3, column 'age'` of a byte of a CSV."""
    line = data[:at].count(b"\n")
    text = data[: data.find(b"\n") if b"\n" in data else len(data)].decode("latin-1").replace("\x00", "")
    delimiter = delimiter_of(text) if text.strip() else ","
    column = data[data.rfind(b"\n", 0, at) + 1 : at].count(delimiter.encode())
    names = next(csv.reader([text], delimiter=delimiter), [])
    name = f"'{names[column].strip()}'" if line and column < len(names) else str(column + 1)
    return f"row {line}, column {name}" if line else f"the header, column {name}"


def _read_json(path: Path) -> Read:
    text, notes = _decoded(path)
    rows: list[dict[str, Any]] = []
    if text.lstrip().startswith("["):
        rows = json.loads(text)
    else:
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                try:
                    rows.append(json.loads(line))
                except ValueError as problem:
                    raise DataError(f"{path}, line {number} is not JSON: {problem}.") from None
    strange = next((place + 1 for place, row in enumerate(rows) if not isinstance(row, dict)), None)
    if strange or not rows:
        what = f"row {strange} does not" if strange else "it is empty"
        raise DataError(f'{path} must hold one JSON object a row, such as {{"age": 40, "label": "yes"}}, but {what}.')
    return Read(table=table_of(rows), place=str(path), notes=notes)


def table_of(rows: list[dict[str, Any]]) -> pa.Table:
    """Rows in memory as a table; a column of mixed kinds becomes text."""
    names = list(dict.fromkeys(str(name) for row in rows for name in row))
    return pa.table({name: _array([row.get(name) for row in rows]) for name in names})


def _array(values: list[Any]) -> pa.ChunkedArray:
    try:
        return plain(pa.chunked_array([pa.array(values)]))
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return plain(pa.chunked_array([pa.array([None if value is None else _spoken(value) for value in values])]))
