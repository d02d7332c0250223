"""Which role each column has: numeric, categorical, boolean, date, text, picture, sound; or none: it tells nothing.

Guessed by the cells alone, never by the target, and always said; the user's word goes first. Cells are paths of
pictures or sounds when their endings say so and files are there. Letters: N rows.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transfuse.core.errors import DataError
from transfuse.core.nouns import DataWarning, Role
from transfuse.core.tables import chosen
from transfuse.tasks.images.decoding import SUFFIXES
from transfuse.tasks.listing import SOUNDS
from transfuse.tasks.tables import cells

ROLES = (*get_args(Role), "drop")
"""What a user may say of a column; `drop` leaves it out."""
_STRAY = 0.02  # share of cells that may be no number in a column of numbers
_STRAYS = 3  # different texts of that sort
_LONG = 40.0  # mean characters from which distinct texts are prose
_WORDS = 4.0  # or mean words
_ID_NAME = re.compile(
    r"(^|[_\s-])(id|uuid|guid|key|index|row|unnamed.*|rowid)$|^(id|uuid|guid)[_\s-]|Id$", re.IGNORECASE
)


_LOOKED_AT = 200  # cells that may be paths by which a column is judged


FILES = ("picture", "sound")
"""Roles of columns whose cells are paths, which are prepared by sources of their own."""


@dataclass(frozen=True, kw_only=True)
class Guess:
    """The role of a column, and why."""

    role: str
    """One of `ROLES`, or `id` and `constant`, which are left out."""
    why: str = ""
    form: str = ""
    blanks: tuple[str, ...] = ()
    strays: tuple[int, ...] = field(default=())
    """Rows (0 the first) whose cells are taken as missing, because they are not of the role."""


def roles_of(
    table: pa.Table, given: Mapping[str, str], skip: set[str | None], folder: Path | None = None
) -> dict[str, Guess]:
    """A guess for every column but those to skip; `given` roles are taken as they are. Paths begin at `folder`.

    Raises `UnknownName` for a column or role that there is not, `DataError` for a cell that is not of a given role.
    """
    for name, role in given.items():
        chosen("column", name, table.column_names)
        chosen("role", role, ROLES)
    return {
        name: _as_told(name, column, given[name]) if name in given else guessed(name, column, folder)
        for name, column in zip(table.column_names, table.columns, strict=True)
        if name not in skip
    }


def guessed(name: str, column: pa.ChunkedArray, folder: Path | None = None) -> Guess:
    """The role that a column's cells have."""
    if (paths := _of_paths(column, folder)) is not None:
        return paths
    distinct = pc.count_distinct(column, mode="only_valid").as_py()
    present = len(column) - column.null_count
    if distinct <= 1:
        return Guess(role="constant", why="no cell has a value" if not present else "all cells are the same")
    if pa.types.is_boolean(column.type):
        return Guess(role="boolean", why="truth values")
    if pa.types.is_timestamp(column.type):
        return Guess(role="date", why="points in time")
    if pa.types.is_string(column.type):
        return _of_texts(name, column, distinct, present)
    return _of_numbers(name, cells.numbers(column)[0], distinct, present)


def _of_paths(column: pa.ChunkedArray, folder: Path | None) -> Guess | None:
    """A column of pictures or of sounds; None when the cells have other endings, or no file is there."""
    if not pa.types.is_string(column.type):
        return None
    cells_ = [cell for cell in pc.drop_null(column).slice(0, _LOOKED_AT).to_pylist() if len(cell) < 1024]
    for endings, role, why in (
        (SUFFIXES, "picture", "paths of pictures"),
        (SOUNDS, "sound", "paths of sounds"),
    ):
        paths = [Path(folder or "", cell) for cell in cells_ if Path(cell).suffix.lower() in endings]
        if len(paths) > len(cells_) / 2 and any(path.is_file() for path in paths):
            return Guess(role=role, why=why)
    return None


def _of_texts(name: str, column: pa.ChunkedArray, distinct: int, present: int) -> Guess:
    if distinct == 2:
        truth, other = cells.truths(column)
        if not other.any() and len(np.unique(truth[~np.isnan(truth)])) == 2:
            return Guess(role="boolean", why="yes and no")
    for decimal in ("", ","):
        values, strange = cells.numbers(column, decimal)
        strays = _strays(column, strange)
        if strays is not None and np.isfinite(values).any():
            found = _of_numbers(name, values, distinct, present, _has_zeros_in_front(column))
            told = Guess(role=found.role, why=found.why, form=decimal, blanks=strays)
            return told if not strays else _with_places(told, strange)
    for form in ("", *cells.DATE_FORMS):
        _, strange = cells.days(column, form)
        if not strange.any():
            return Guess(role="date", why=f"dates such as {form or 'ISO 8601'}", form=form)
    return _of_words(name, column, distinct, present)


def _of_words(name: str, column: pa.ChunkedArray, distinct: int, present: int) -> Guess:
    length = pc.mean(pc.utf8_length(column)).as_py() or 0.0
    words = 1 + (pc.mean(pc.count_substring(column, " ")).as_py() or 0.0)
    if distinct > 0.5 * present and (length >= _LONG or words >= _WORDS):
        return Guess(role="text", why=f"{distinct} different texts of {words:.0f} words on average")
    if distinct == present and present > 20:
        return Guess(role="id", why="every cell is another text")
    return Guess(role="categorical", why=f"{distinct} different texts")


def _of_numbers(name: str, values: np.ndarray, distinct: int, present: int, zeros: bool = False) -> Guess:
    """Numbers; whole ones that number the rows are an id, those with leading zeros are codes."""
    if zeros:
        return Guess(role="categorical", why=f"{distinct} codes with leading zeros")
    there = values[np.isfinite(values)]
    whole = bool((there == np.floor(there)).all())
    if whole and distinct == present == len(values) and len(values) > 20:
        counted = there.max() - there.min() == len(there) - 1 and bool(
            (np.diff(there) > 0).all() or _ID_NAME.search(name)
        )
        if counted or _ID_NAME.search(name):
            return Guess(role="id", why="whole numbers that only number the rows")
    return Guess(role="numeric", why=f"{distinct} different numbers")


def _has_zeros_in_front(column: pa.ChunkedArray) -> bool:
    return bool(pc.any(pc.match_substring_regex(column, r"^0\d+$")).as_py())


def _strays(column: pa.ChunkedArray, strange: np.ndarray) -> tuple[str, ...] | None:
    """The few texts among numbers that must mean a missing cell; None when there are too many of them."""
    if not strange.any():
        return ()
    if strange.mean() > _STRAY and pc.count_distinct(column.filter(pa.array(strange))).as_py() > 1:
        return None
    texts = sorted(set(column.filter(pa.array(strange)).to_pylist()))
    few = len(texts) <= _STRAYS and strange.sum() < 0.5 * len(strange)
    return tuple(texts) if few and (strange.mean() <= _STRAY or not any(map(str.isalnum, texts))) else None


def _with_places(guess: Guess, strange: np.ndarray) -> Guess:
    places = tuple(np.flatnonzero(strange).tolist())
    return Guess(role=guess.role, why=guess.why, form=guess.form, blanks=guess.blanks, strays=places)


def _as_told(name: str, column: pa.ChunkedArray, role: str) -> Guess:
    """The user's role; the cells must be of it."""
    if role == "numeric":
        decimal = next((d for d in ("", ",") if not cells.numbers(column, d)[1].any()), "")
        _require(name, column, cells.numbers(column, decimal)[1], "a number")
        return Guess(role=role, why="as given", form=decimal)
    if role == "boolean":
        _require(name, column, cells.truths(column)[1], "yes or no")
    if role == "date":
        form = next((f for f in ("", *cells.DATE_FORMS) if not cells.days(column, f)[1].any()), "")
        _require(name, column, cells.days(column, form)[1], "a date such as 2024-01-31")
        return Guess(role=role, why="as given", form=form)
    return Guess(role=role, why="as given")


def _require(name: str, column: pa.ChunkedArray, strange: np.ndarray, what: str) -> None:
    if strange.any():
        row = int(np.flatnonzero(strange)[0])
        more = f" ({int(strange.sum())} such rows)" if strange.sum() > 1 else ""
        cell: Any = column[row].as_py()
        raise DataError(f"Row {row + 1}, column '{name}' must hold {what}, but holds {str(cell)[:60]!r}{more}.")


def said(guesses: Mapping[str, Guess]) -> tuple[DataWarning, ...]:
    """Notes on roles: all of them, those left out, and cells taken as missing."""
    places = tuple(f"{name}: {guess.role} ({guess.why})" for name, guess in guesses.items())
    message = "The roles of the columns. If one is wrong, say --role COLUMN=ROLE."
    notes = [DataWarning(code="roles", message=message, places=places, severity="note")]
    left = {name: guess for name, guess in guesses.items() if guess.role in ("id", "constant", "drop")}
    if left:
        told = tuple(f"{name}: {guess.why}" for name, guess in left.items())
        message = f"{len(left)} column(s) are left out: ids and constants tell nothing about new rows."
        notes.append(DataWarning(code="column-left-out", message=message, places=told))
    strays = {name: guess for name, guess in guesses.items() if guess.strays}
    for name, guess in strays.items():
        quoted = ", ".join(f"'{text}'" for text in guess.blanks)
        message = f"{len(guess.strays)} cells of '{name}' hold {quoted} among numbers; they are taken as missing."
        rows = tuple(f"row {row + 1}" for row in guess.strays)
        notes.append(DataWarning(code="stray-cells", message=message, places=rows))
    return tuple(notes)
