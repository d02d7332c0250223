"""Rows of a table as numbers: what a `TablePreprocessing` says, and how it is learnt from training rows.

Every column becomes one slot, dates three (time, day of the week, day of the year), free text `WORDS`, files none: they
are prepared by sources of their own.
Letters: N rows, K slots.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transfuse.core.errors import DataError
from transfuse.core.nouns import Column, Role, TablePreprocessing
from transfuse.core.tables import unknown
from transfuse.tasks.tables import cells
from transfuse.tasks.tables.roles import FILES, Guess

QUANTILES = 33
"""Quantiles of a column that are kept."""
MOST_VALUES = 10_000
"""Categories that are told apart; rarer ones are as unknown as new ones."""


@dataclass(frozen=True, kw_only=True)
class Slot:
    """One number of an encoded row."""

    column: str
    name: str
    values: int = 0
    """Categories; 0 for a number."""


def slots_of(preprocessing: TablePreprocessing) -> tuple[Slot, ...]:
    """What the K numbers of an encoded row are."""
    found: list[Slot] = []
    for column in preprocessing.columns:
        parts: Sequence[str] = ("",)
        if column.role == "date":
            parts = ("", " (day of the week)", " (day of the year)")
        elif column.role == "text":
            parts = (" (words)", *(f" (words {bucket})" for bucket in range(1, cells.WORDS)))
        elif column.role in FILES:
            parts = ()
        values = len(column.values) if column.role == "categorical" else 0
        found += [Slot(column=column.name, name=column.name + part, values=values) for part in parts]
    return tuple(found)


def encoded(table: pa.Table, preprocessing: TablePreprocessing, *, strict: bool = True) -> np.ndarray:
    """All rows as numbers, float32 (N, K): NaN for missing cells, -1 for categories that are not known.

    Raises `DataError` for a missing column, and naming row and column for a cell that is not of its role, which is NaN
    when not `strict`.
    """
    blocks: list[np.ndarray] = [np.empty((table.num_rows, 0))]
    found = dict(zip(table.column_names, table.columns, strict=True))
    for column in preprocessing.columns:
        if column.absent:
            blocks.append(np.full((table.num_rows, width_of(column)), np.nan))
            continue
        if column.name not in found:
            raise DataError(f"The table lacks a column. {unknown('column', column.name, found)}")
        blocks.append(_block(found[column.name], column, strict))
    return np.concatenate(blocks, axis=1).astype(np.float32)


def width_of(column: Column) -> int:
    """Slots of a column."""
    return {"date": 3, "text": cells.WORDS, "picture": 0, "sound": 0}.get(column.role, 1)


def strange_cells(table: pa.Table, preprocessing: TablePreprocessing) -> dict[int, str]:
    """Why a row cannot be encoded, by row: its first cell that is not of its column's role."""
    found: dict[int, str] = {}
    for column in preprocessing.columns:
        if column.absent or column.role in ("categorical", "text", *FILES):
            continue
        strange = numbers_of(table.column(column.name), column)[1]
        for row in np.flatnonzero(strange).tolist():
            found.setdefault(row, _spoken(table.column(column.name), column, row))
    return found


def _block(cell_N: pa.ChunkedArray, column: Column, strict: bool) -> np.ndarray:
    cell_N = cells.blanked(cell_N, column.blanks)
    if column.role == "categorical":
        return cells.codes(cell_N, column.values, column.spellings)[:, None]
    if column.role in FILES:
        return np.empty((len(cell_N), 0))
    if column.role == "text":
        return cells.hashed_words(cell_N)
    values, strange = numbers_of(cell_N, column)
    if strict and strange.any():
        raise DataError(_spoken(cell_N, column, int(np.flatnonzero(strange)[0])))
    scaled = ((values - column.mean) / column.std)[:, None]
    return np.concatenate([scaled, _calendar(values)], axis=1) if column.role == "date" else scaled


def numbers_of(cell_N: pa.ChunkedArray, column: Column) -> tuple[np.ndarray, np.ndarray]:
    """Numbers, truth values or days since 1970 (N,), in their own unit and NaN for missing; and which are none."""
    cell_N = cells.blanked(cell_N, column.blanks)
    if column.role == "boolean":
        return cells.truths(cell_N)
    return cells.days(cell_N, column.form) if column.role == "date" else cells.numbers(cell_N, column.form)


def _spoken(cell_N: pa.ChunkedArray, column: Column, row: int) -> str:
    what = {"boolean": "yes or no", "date": "a date", "numeric": "a number"}[column.role]
    return f"Row {row + 1}, column '{column.name}' must hold {what}, but holds {str(cell_N[row].as_py())[:60]!r}."


def _calendar(days: np.ndarray) -> np.ndarray:
    """Day of the week and of the year, 0..1, (N, 2)."""
    whole = np.floor(days)
    found = np.full((len(days), 2), np.nan)
    there = np.isfinite(whole)
    dates = whole[there].astype("int64").astype("datetime64[D]")
    found[there, 0] = (whole[there] + 3) % 7 / 6  # 1970 began on a Thursday
    found[there, 1] = (dates - dates.astype("datetime64[Y]")).astype(int) / 365
    return found


def learnt_columns(table: pa.Table, guesses: Mapping[str, Guess], train: np.ndarray) -> TablePreprocessing:
    """The preprocessing that suits the training rows, at the places `train`; columns without a role are left out."""
    part = dict(zip(table.column_names, table.take(pa.array(train)).columns, strict=True))
    kept = usable(guesses)
    return TablePreprocessing(columns=tuple(_learnt(name, part[name], guess) for name, guess in kept.items()))


def usable(guesses: Mapping[str, Guess]) -> dict[str, Guess]:
    """The columns that are learnt from. Raises `DataError` when there are none."""
    kept = {name: guess for name, guess in guesses.items() if guess.role in get_args(Role)}
    if not kept:
        raise DataError(
            "There must be a column to learn from, but all are left out: "
            + ", ".join(f"'{name}' ({guess.why})" for name, guess in list(guesses.items())[:8])
            + ". Say --role COLUMN=ROLE to take one."
        )
    return kept


def _learnt(name: str, cell_N: pa.ChunkedArray, guess: Guess) -> Column:
    cell_N = cells.blanked(cell_N, guess.blanks)
    missing = cell_N.null_count / max(1, len(cell_N))
    plain = Column(name=name, role=guess.role, blanks=guess.blanks, form=guess.form, missing=missing)  # type: ignore[arg-type]
    if guess.role in ("text", *FILES):
        return plain
    if guess.role == "categorical":
        return categories(plain, cell_N)
    values = numbers_of(cell_N, plain)[0]
    there = values[np.isfinite(values)]
    if not len(there):
        return plain
    quantiles = np.quantile(there, np.linspace(0, 1, QUANTILES))
    mean, std = (0.0, 1.0) if guess.role == "boolean" else (float(there.mean()), float(there.std()) or 1.0)
    return Column(
        name=name, role=plain.role, mean=mean, std=std, blanks=plain.blanks, form=plain.form,
        quantiles=tuple(quantiles.tolist()), missing=missing,
    )  # fmt: skip


def categories(column: Column, cell_N: pa.ChunkedArray) -> Column:
    """The column with the values of these cells, most frequent first."""
    counted = pc.value_counts(pc.drop_null(cells.texts(cell_N)))
    pairs = sorted(
        ((row["counts"], row["values"]) for row in counted.to_pylist()), key=lambda pair: (-pair[0], pair[1])
    )
    total = sum(count for count, _ in pairs)
    kept = pairs[:MOST_VALUES]
    return Column(
        name=column.name, role=column.role, blanks=column.blanks, form=column.form, missing=column.missing,
        values=tuple(value for _, value in kept), shares=tuple(count / total for count, _ in kept),
    )  # fmt: skip
