"""Opening tables: CSV, TSV, JSON lines, Parquet, databases, rows in memory; any column as the target.

Letters: N rows, K columns; M pairs of equal rows.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transfuse.core.errors import DataError
from transfuse.core.nouns import Column, DataWarning, Examples, Kind, TablePreprocessing, Task
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.core.tables import chosen
from transfuse.tasks.assembling import NO_PAIRS, Cut, assembled, of_task, only_split, whole
from transfuse.tasks.assembling import Read as Assembled
from transfuse.tasks.images.path_tables import split_column_of, target_columns
from transfuse.tasks.listing import SPLIT_NAMES, Listing
from transfuse.tasks.tables import cells as tables_cells
from transfuse.tasks.tables import roles as tables_roles
from transfuse.tasks.tables.encoding import learnt_columns, usable
from transfuse.tasks.tables.given import name_of, read_table
from transfuse.tasks.tables.leaks import leak_warnings
from transfuse.tasks.tables.pictures import with_pictures
from transfuse.tasks.tables.reading import Read
from transfuse.tasks.tables.roles import Guess
from transfuse.tasks.tables.rows import Cells, Rows
from transfuse.tasks.targets import Targets, encode, encode_as, without_missing

_COPIES = 0.2
"""Share of rows with an equal one, from which equal rows are taken for chance (a table of few small columns)."""


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Which column is what; None where the user did not say."""

    target: str | Sequence[str] | None = None
    group: str | None = None
    weight: str | None = None


def open_table(
    data: Any,
    *,
    target: str | Sequence[str] | None = None,
    kind: Kind | None = None,
    roles: Mapping[str, str] | None = None,
    group: str | None = None,
    weight: str | None = None,
    query: str | None = None,
    seed: int = 0,
    valid: float = 0.2,
    test: float = 0.2,
    name: str | None = None,
    run: Run | None = None,
) -> Task:
    """Open a table whose rows are examples.

    `data`: a .csv, .tsv, .jsonl, .json or .parquet file; a folder with train / valid / test files of these kinds; the
    URL or file of a database (`sqlite:///shop.db`, `duckdb:///shop.duckdb`, any of SQLAlchemy's); rows in memory
    (mappings from column to value, a pyarrow table, or columns as a mapping); or a Task, which is returned as it is.

    target: column(s) to learn; guessed where there is no doubt. kind: guessed from the target, and stated.
    roles: `numeric`, `categorical`, `boolean`, `date`, `text`, `picture`, `sound` or `drop` by column, in place of
    the guess.
    group: column whose groups never lie in two splits. weight: column with the examples' weights.
    query: SQL, for databases. valid, test: shares held out where the user gave no such split.

    Raises `DataError` naming row and column where something cannot be read or learnt from.
    """
    if isinstance(data, Task):
        return data
    cut = Cut(seed=seed, valid=valid, test=test)
    found, splits = read_table(data, query)
    listing, guesses = listed(found, splits, Columns(target=target, group=group, weight=weight), roles or {})
    listing = without_missing(listing)
    targets, notes = encode(listing, kind)
    found, contents, unseen = with_pictures(found, guesses)
    seen, copies = seen_rows(contents, guesses, listing, targets)
    said = (*notes, *tables_roles.said(guesses), *unseen, *copies)
    read = replace(seen, listing=replace(listing, warnings=(*listing.warnings, *said)))
    options = {"group": group, "weight": weight, "query": query}
    task = assembled(read, cut, name=name or name_of(data), options=options)
    train = np.array(task.splits["train"].items)
    columns = learnt_columns(found.table, guesses, train)
    cells = Cells(found.table, found.folder)
    leaks = leak_warnings(cells.encoded(columns)[train], task.splits["train"].targets, targets.kind, columns, seed)
    return replace(
        task,
        splits={part: of_rows(examples, cells) for part, examples in task.splits.items()},
        warnings=(*task.warnings, *leaks),
        description={**task.description, "columns": plain(columns)},
    )


def open_split(
    data: Any,
    *,
    classes: Sequence[str],
    kind: Kind,
    split: str = "test",
    target: str | Sequence[str] | None = None,
    group: str | None = None,
    weight: str | None = None,
    query: str | None = None,
    run: Run | None = None,
) -> tuple[Examples, tuple[DataWarning, ...]]:
    """Labelled rows for evaluating a model that knows `classes`, with targets in the model's order.

    Without `target`, columns that are called as the outputs, or the only one that holds nothing but classes, are.
    Data with splits of their own give the one
    asked for; others are taken whole.
    """
    if isinstance(data, Task):
        return of_task(data, classes, split)
    found, splits = read_table(data, query)
    if target is None:
        target = _target_of(found.table, classes)
    listing, guesses = listed(found, splits, Columns(target=target, group=group, weight=weight), {})
    listing = without_missing(only_split(listing, split))
    targets = encode_as(listing, kind, tuple(classes))
    found, contents, unseen = with_pictures(found, guesses)
    seen, _ = seen_rows(contents, guesses, listing, targets)
    examples, warnings = whole(seen)
    return of_rows(examples, Cells(found.table, found.folder)), (*warnings, *unseen)


def _target_of(table: pa.Table, classes: Sequence[str]) -> Sequence[str] | str | None:
    """The columns that must be meant, by their names or by what they hold; None when it cannot be told."""
    if all(name in table.column_names for name in classes):
        return tuple(classes)
    known = pa.array(classes, pa.string())
    texts = {name: tables_cells.texts(column) for name, column in zip(table.column_names, table.columns, strict=True)}
    holding = [n for n, text in texts.items() if pc.all(pc.is_in(pc.drop_null(text), value_set=known)).as_py()]
    return holding[0] if len(holding) == 1 else None


def of_rows(examples: Examples, cells: Cells) -> Examples:
    """Examples whose items are numbers of rows, with the rows themselves."""
    return replace(examples, items=Rows(cells, np.array(examples.items, np.int64)))


def seen_rows(
    table: pa.Table, guesses: Mapping[str, Guess], listing: Listing, targets: Targets
) -> tuple[Assembled, tuple[DataWarning, ...]]:
    """Rows with their digests, by all columns that are learnt from, and pairs of equal ones.

    A table of few small columns holds many equal rows by chance: they are not kept together then, and it is said.
    """
    names = list(usable(guesses))
    digests = row_digests(table.select(names).take(pa.array(list(listing.items), pa.int64())))
    first: dict[str, int] = {}
    found = [(first.setdefault(digest, place), place) for place, digest in enumerate(digests)]
    pairs = np.array([pair for pair in found if pair[0] != pair[1]], np.int64).reshape(-1, 2)
    notes: tuple[DataWarning, ...] = ()
    if len(pairs) > _COPIES * len(listing):
        message = (
            f"{len(pairs)} of {len(listing)} rows equal an earlier one but for the target: so many that they are taken"
            " for chance, and may lie in different splits."
        )
        notes, pairs = (DataWarning(code="many-equal-rows", message=message, severity="note"),), NO_PAIRS
    read = Assembled(
        modality="table", noun="rows", listing=listing, targets=targets, digests=digests, exact=pairs, near=NO_PAIRS
    )
    return read, notes


def row_digests(table: pa.Table) -> tuple[str, ...]:
    """SHA-256 of the names of the columns and the cells of each row."""
    columns = [tables_cells.texts(column).fill_null("\x00").to_pylist() for column in table.columns]
    header = "\x1f".join(table.column_names)
    rows = ("\x1f".join(row) for row in zip(*columns, strict=True)) if columns else [""] * table.num_rows
    return tuple(hashlib.sha256(f"{header}\x1e{row}".encode(errors="surrogatepass")).hexdigest() for row in rows)


def columns_of(task: Task) -> TablePreprocessing:
    """How the columns of a task's table become numbers, learnt from its training rows."""
    return preprocessing_from(task.description["columns"])


def preprocessing_from(document: Mapping[str, Any]) -> TablePreprocessing:
    """A preprocessing from its plain form."""
    columns = tuple(Column(**{k: _frozen(v) for k, v in column.items()}) for column in document["columns"])
    return TablePreprocessing(columns=columns, known=bool(document.get("known", True)))


def _frozen(value: Any) -> Any:
    return tuple(_frozen(part) for part in value) if isinstance(value, list | tuple) else value


def listed(
    read: Read, splits: np.ndarray | None, wanted: Columns, roles: Mapping[str, str]
) -> tuple[Listing, dict[str, Guess]]:
    """Rows with their labels, and the role of every column that is not a target, group, weight or split."""
    table = read.table
    for name in (wanted.group, wanted.weight):
        if name is not None:
            chosen("column", name, table.column_names)
    small = {n: table.column(n).to_pylist() for n in table.column_names if n.lower() in _SPLIT_NAMES}
    given = split_column_of(small) if splits is None else None
    if given is not None:
        splits = np.array([SPLIT_NAMES[str(value).lower()] for value in small[given]])
    used = {wanted.group, wanted.weight, given}
    columns = _guessing(table) if wanted.target is None else {key: [] for key in table.column_names}
    names = target_columns(columns, wanted.target, used, read.place)
    guesses = tables_roles.roles_of(table, roles, {*used, *names}, read.folder)
    labels = [_labels(table.column(name)) for name in names]
    weights = None if wanted.weight is None else tables_cells.numbers(table.column(wanted.weight))[0].tolist()
    groups = None if wanted.group is None else tables_cells.texts(table.column(wanted.group)).to_pylist()
    several = _beside(labels, names) if len(names) > 1 else []
    return Listing(
        layout="table",
        items=range(table.num_rows),
        names=[f"row {row + 1}" for row in range(table.num_rows)],
        labels=labels[0] if len(names) == 1 else several,
        columns=tuple(names) if len(names) > 1 else (),
        splits=None if splits is None else splits.tolist(),
        groups=groups,
        weights=weights,
        warnings=read.notes,
        description={
            "layout": "table",
            "path": read.place,
            "target": names[0] if len(names) == 1 else names,
            "split_column": given,
            "roles": {name: guess.role for name, guess in guesses.items()},
        },
    ), guesses


_SPLIT_NAMES = ("split", "subset", "partition", "set", "fold")


def _guessing(table: pa.Table) -> dict[str, list[Any]]:
    """Columns with a few cells each, as numbers where they are: enough to guess targets by."""
    return {name: _labels(table.column(name).slice(0, 1000)) for name in table.column_names}


def _labels(column: pa.ChunkedArray) -> list[Any]:
    """Cells as labels: whole numbers, numbers, texts or truth values."""
    if not pa.types.is_string(column.type):
        return tables_cells.texts(column).to_pylist() if pa.types.is_timestamp(column.type) else column.to_pylist()
    values, strange = tables_cells.numbers(column)
    if strange.any() or not np.isfinite(values).any():
        return column.to_pylist()
    return [None if np.isnan(v) else int(v) if v.is_integer() else v for v in values.tolist()]


def _beside(labels: Sequence[Sequence[Any]], names: Sequence[str]) -> list[tuple[float | None, ...]]:
    """Several target columns as one tuple a row."""
    return [tuple(None if v is None else _number(v, names) for v in row) for row in zip(*labels, strict=True)]


def _number(value: Any, names: Sequence[str]) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise DataError(f"Several target columns ({', '.join(names)}) must hold numbers, but hold '{value}'.") from None
