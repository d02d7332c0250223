"""Tables with a path column and any target column: CSV, JSON lines, JSON, Parquet."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.csv
import pyarrow.parquet

from transfuse.core.errors import DataError, UsageError
from transfuse.core.tables import chosen
from transfuse.tasks.images.decoding import SUFFIXES
from transfuse.tasks.listing import SPLIT_NAMES, Listing

_PATH_NAMES = (
    "path",
    "file",
    "filename",
    "file_name",
    "filepath",
    "file_path",
    "image",
    "image_path",
    "picture",
    "img",
    "audio",
    "audio_path",
    "sound",
    "recording",
    "wav",
)
_TARGET_NAMES = ("label", "labels", "target", "targets", "class", "classes", "y", "category", "categories", "diagnosis")
_SPLIT_COLUMNS = ("split", "subset", "partition", "set", "fold")

Columns = dict[str, list[Any]]


def list_table(
    path: Path,
    *,
    target: str | Sequence[str] | None = None,
    path_column: str | None = None,
    group: str | None = None,
    weight: str | None = None,
    suffixes: frozenset[str] = SUFFIXES,
    noun: str = "pictures",
) -> Listing:
    """Examples of a table. Relative paths are relative to the table. A column `split` with train/valid/test is kept.

    `noun` is what the files with one of the suffixes are.
    """
    columns = read_columns(path)
    pictures = path_column or _guessed_path_column(columns, path, suffixes, noun)
    for name in (pictures, group, weight):
        if name is not None:
            chosen("column", name, columns)
    items = ["" if _empty(value) else path.parent / str(value) for value in columns[pictures]]
    rows = listed_rows(columns, pictures, path, target=target, group=group, weight=weight)
    return Listing(
        layout="table",
        items=items,
        names=[str(item) if item else f"row {row + 1} of {path}" for row, item in enumerate(items)],
        **{**rows, "description": {"path_column": pictures, **rows["description"]}},
    )


def listed_rows(
    columns: Columns,
    inputs: str,
    path: Path,
    *,
    target: str | Sequence[str] | None,
    group: str | None,
    weight: str | None,
) -> dict[str, Any]:
    """What every table says beside the column `inputs`: splits, groups, weights, labels, as a Listing has them."""
    split_column = split_column_of(columns)
    targets = target_columns(columns, target, {inputs, group, weight, split_column}, path)
    return {
        "splits": _splits(columns[split_column]) if split_column else None,
        "groups": None if group is None else [None if _empty(value) else str(value) for value in columns[group]],
        "weights": None if weight is None else _weights(columns[weight], weight),
        "description": {
            "target": targets[0] if len(targets) == 1 else targets,
            "group": group,
            "weight": weight,
            "split_column": split_column,
        },
        **_labels(columns, targets),
    }


def read_columns(path: Path) -> Columns:
    """Columns of a CSV, TSV, JSON lines, JSON or Parquet file; raises `DataError` when it is broken."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".parquet":
            return pyarrow.parquet.read_table(path).to_pydict()
        if suffix in (".csv", ".tsv"):
            return _read_csv(path, "\t" if suffix == ".tsv" else None)
        return _read_json(path)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError, ValueError) as problem:
        raise DataError(f"{path} cannot be read as a table: {str(problem).splitlines()[0].rstrip('.')}.") from None


def _read_csv(path: Path, delimiter: str | None) -> Columns:
    if delimiter is None:
        with path.open(encoding="utf-8-sig", errors="replace") as stream:
            head = stream.readline()
        delimiter = max(",;\t", key=head.count)
    options = pyarrow.csv.ConvertOptions(strings_can_be_null=True, null_values=["", "NA", "NaN", "nan", "null", "None"])
    parse = pyarrow.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
    table = pyarrow.csv.read_csv(path, parse_options=parse, convert_options=options)
    for name, column in zip(table.column_names, table.columns, strict=True):
        if pyarrow.types.is_binary(column.type):  # what is not UTF-8 is read as bytes
            raise _wrong_encoding(path, name, column.to_pylist())
    return table.to_pydict()


def _wrong_encoding(path: Path, name: str, values: Sequence[bytes | None]) -> DataError:
    """Names the first cell that is not UTF-8."""
    for row, value in enumerate(values):
        try:
            (value or b"").decode("utf-8")
        except UnicodeDecodeError as problem:
            byte = problem.object[problem.start]
            return DataError(
                f"{path}, row {row + 1}, column '{name}' must be UTF-8, but holds the byte 0x{byte:02x}: save the table"
                " as UTF-8 (it may be Windows-1252 or Latin-1)."
            )
    return DataError(f"{path}, column '{name}' must hold text, but holds bytes.")


def _read_json(path: Path) -> Columns:
    text = path.read_text(encoding="utf-8-sig")
    rows = (
        json.loads(text)
        if text.lstrip().startswith("[")
        else [json.loads(line) for line in text.splitlines() if line.strip()]
    )
    if not rows or not all(isinstance(row, dict) for row in rows):
        raise DataError(
            f'{path} must hold one JSON object for each picture, such as {{"path": "a.jpg", "label": "cat"}}.'
        )
    names = list(dict.fromkeys(name for row in rows for name in row))
    return {name: [row.get(name) for row in rows] for name in names}


def _guessed_path_column(columns: Columns, path: Path, suffixes: frozenset[str], noun: str) -> str:
    texts = [name for name, values in columns.items() if _mostly_paths(values, suffixes)]
    if texts:
        return next((name for usual in _PATH_NAMES for name in texts if name.lower() == usual), texts[0])
    raise DataError(
        f"{path} must have a column with the paths of {noun}, but none of {', '.join(columns)} looks like one. "
        "Name it with `path_column`."
    )


def _mostly_paths(values: list[Any], suffixes: frozenset[str]) -> bool:
    texts = [value for value in values[:200] if isinstance(value, str)]
    return sum(Path(text).suffix.lower() in suffixes for text in texts) > len(texts) / 2


def split_column_of(columns: Columns) -> str | None:
    """The column that says to which split an example belongs."""
    for name, values in columns.items():
        known = {str(value).lower() for value in values}
        if (
            name.lower() in _SPLIT_COLUMNS
            and known <= SPLIT_NAMES.keys()
            and any(SPLIT_NAMES[v] == "train" for v in known)
        ):
            return name
    return None


def _splits(values: list[Any]) -> list[str]:
    return [SPLIT_NAMES[str(value).lower()] for value in values]


def target_columns(
    columns: Columns, target: str | Sequence[str] | None, roles: set[str | None], path: Any
) -> list[str]:
    """The columns that are to be learnt: those named, or the ones about which there is no doubt."""
    if target is not None:
        names = [target] if isinstance(target, str) else list(target)
        if len(names) == 1 and names[0] not in columns and "," in names[0]:
            names = [name.strip() for name in names[0].split(",")]
        return [chosen("column", name, columns) for name in names]
    rest = [name for name in columns if name not in roles]
    usual = [name for wanted in _TARGET_NAMES for name in rest if name.lower() == wanted]
    if usual or len(rest) == 1:
        return [(usual or rest)[0]]
    if rest and all(_binary(columns[name]) for name in rest):
        return rest
    raise DataError(
        f"{path} must have a target column, but which of {', '.join(rest) or 'none'} it is cannot be told. "
        "Name it with `target`."
    )


def _binary(values: list[Any]) -> bool:
    return {value for value in values if not _empty(value)} <= {0, 1}


def _labels(columns: Columns, targets: list[str]) -> dict[str, Any]:
    if len(targets) == 1:
        return {"labels": columns[targets[0]]}
    for name in targets:
        strange = next((v for v in columns[name] if not _empty(v) and not isinstance(v, bool | int | float)), None)
        if strange is not None:
            raise DataError(f"With several target columns each must hold numbers, but '{name}' holds '{strange}'.")
    rows = [
        tuple(None if _empty(v) else float(v) for v in row) for row in zip(*(columns[t] for t in targets), strict=True)
    ]
    return {"labels": rows, "columns": tuple(targets)}


def _weights(values: list[Any], name: str) -> list[float | None]:
    try:
        return [None if _empty(value) else float(value) for value in values]
    except (TypeError, ValueError):
        raise UsageError(f"`weight` must name a column of numbers, but '{name}' holds other values.") from None


def _empty(value: Any) -> bool:
    return value is None or value == "" or (isinstance(value, float) and value != value)
