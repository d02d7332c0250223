"""Sources for tables: plain columns and a fresh network for any table, and an earlier table's Model on new columns.

Columns are matched by name, then by role and distribution; what differs is said with `+` (only here), `-` (only in the
source) and `~` (changed). New categories and columns are appended, so that what the source knows stays in its place.
Letters: Q quantiles.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from transfuse.core.digests import of_many, of_value
from transfuse.core.errors import SourceError
from transfuse.core.nouns import Column, Source, TablePreprocessing, Task
from transfuse.core.provenance import plain
from transfuse.sources.tables.network import network_builder, sizes_of
from transfuse.tasks.tables.opening import columns_of

BUILTIN = ("columns", "network")
_ALIKE = 0.8
"""Overlap (0..1) of two distributions from which columns of other names are the same column."""
_MOVED = 0.5
"""Overlap below which a column of the same name is said to have moved."""


@dataclass(frozen=True, kw_only=True)
class Changes:
    """A source's columns against a table's."""

    columns: TablePreprocessing
    """The source's columns, under the table's names, then the new ones."""
    lines: tuple[str, ...]
    """What differs, one line each, beginning with `+`, `-` or `~`."""


def unfitted(name: str) -> Source:
    """`table:columns` or `table:network` before the table is known."""
    builder = {"table": name}
    return Source(
        reference=f"table:{name}",
        name=name,
        modality="table",
        origin="table",
        builder=builder,
        preprocessing=TablePreprocessing(columns=()),
        licence="none (nothing learnt)",
        digest=of_value(builder),
    )


def suited(source: Source, task: Task) -> Source:
    """The source for the columns of the task's table; one of these columns, or of no table, as it is."""
    if task.modality != "table" or not isinstance(source.preprocessing, TablePreprocessing):
        return source
    if "columns" not in task.description:
        return source
    columns = columns_of(task)
    if "table" in source.builder:
        return fresh(source, columns)
    return widened(source, columns)


def widened(source: Source, columns: TablePreprocessing) -> Source:
    """The source with other columns and categories behind its own. Raises `SourceError` where it cannot have them."""
    assert isinstance(source.preprocessing, TablePreprocessing)
    found = changes(source.preprocessing, columns)
    if found.columns.columns == source.preprocessing.columns:
        return source
    builder = dict(source.builder)
    if "tabular" in builder:
        builder["tabular"] = {**builder["tabular"], "slots": sizes_of(found.columns)}
    elif not builder.keys() & {"trees", "onehot", "boosted"}:
        raise SourceError(f"'{source.reference}' cannot be carried over to other columns. Take a Model of fewer parts.")
    digest = of_many([source.digest, of_value(plain(found.columns))])
    return replace(source, origin="table", builder=builder, preprocessing=found.columns, digest=digest)


def changed_lines(source: Source, task: Task) -> tuple[str, ...]:
    """What differs between a source's columns and the task's; nothing for fresh sources."""
    known = isinstance(source.preprocessing, TablePreprocessing) and "table" not in source.builder
    if task.modality != "table" or not known or "columns" not in task.description:
        return ()
    return changes(source.preprocessing, columns_of(task)).lines  # type: ignore[arg-type]


def fresh(source: Source, columns: TablePreprocessing) -> Source:
    """`table:columns` or `table:network` for these columns."""
    name = source.builder["table"]
    builder: dict[str, Any] = {"onehot": sizes_of(columns)} if name == "columns" else network_builder(columns)
    digest = of_many([of_value(builder), of_value(plain(columns))])
    return replace(source, builder=builder, preprocessing=columns, digest=digest)


def changes(source: TablePreprocessing, table: TablePreprocessing) -> Changes:
    """Match the columns of an earlier table with those of a new one."""
    pairs = matched(source.columns, table.columns)
    used = {mine.name for mine in pairs.values() if mine is not None}
    kept, lines = [], []
    for column in source.columns:
        mine = pairs[column.name]
        if mine is None:
            kept.append(replace(column, absent=True))
            lines += [] if column.absent else [f"- {column.name} ({column.role}): taken as missing"]
        else:
            joined, said = _joined(column, mine)
            kept.append(joined)
            lines += said
    for column in table.columns:
        if column.name not in used:
            kept.append(column)
            lines.append(f"+ {column.name} ({column.role}): new")
    return Changes(columns=TablePreprocessing(columns=tuple(kept)), lines=tuple(lines))


def matched(source: Sequence[Column], table: Sequence[Column]) -> dict[str, Column | None]:
    """The table's column for each of the source's: of its name, or else of its role and distribution; None for none."""
    free = {column.name: column for column in table}
    pairs: dict[str, Column | None] = {}
    for same in (lambda name: name, _loose):
        for column in source:
            if pairs.get(column.name) is None:
                mine = next((c for c in free.values() if same(c.name) == same(column.name)), None)
                if mine is not None and _roles_fit(column, mine):
                    pairs[column.name] = free.pop(mine.name)
    candidates = [
        (
            overlap(column, mine) + 0.01 * difflib.SequenceMatcher(None, column.name, mine.name).ratio(),
            column.name,
            mine,
        )
        for column in source
        if column.name not in pairs
        for mine in free.values()
        if column.role == mine.role and column.role in ("numeric", "categorical")
    ]
    for score, name, mine in sorted(candidates, key=lambda c: -c[0]):
        if score >= _ALIKE and name not in pairs and mine.name in free:
            pairs[name] = free.pop(mine.name)
    return {column.name: pairs.get(column.name) for column in source}


def overlap(a: Column, b: Column) -> float:
    """How alike two columns are, 0..1: shared mass of categories, or 1 minus the largest gap of the CDFs."""
    if a.role == "categorical":
        other = {_loose(value): share for value, share in zip(b.values, b.shares, strict=True)}
        return float(sum(min(s, other.get(_loose(v), 0.0)) for v, s in zip(a.values, a.shares, strict=True)))
    if not a.quantiles or not b.quantiles:
        return 0.0
    points = np.union1d(a.quantiles, b.quantiles)
    steps_Q = np.linspace(0, 1, len(a.quantiles))
    cumulated = [
        np.maximum(np.interp(points, c.quantiles, steps_Q), (points >= c.quantiles[-1]).astype(float)) for c in (a, b)
    ]
    return float(1 - np.abs(cumulated[0] - cumulated[1]).max())


def _joined(column: Column, mine: Column) -> tuple[Column, list[str]]:
    """The source's column under the table's name, with its new categories; and what differs."""
    lines = [f"~ {column.name}: called {mine.name} here"] if column.name != mine.name else []
    found = replace(column, name=mine.name, absent=False, blanks=mine.blanks, form=mine.form)
    if column.role != "categorical":
        alike = overlap(column, mine)
        if column.quantiles and mine.quantiles and alike < _MOVED:
            lines.append(
                f"~ {mine.name}: distributed otherwise (overlap {alike:.2f}; mean {column.mean:.4g} to {mine.mean:.4g})"
            )
        return found, lines
    known = {value: code for code, value in enumerate(column.values)} | dict(column.spellings)
    loose = {_loose(value): code for value, code in known.items()}
    strange = [value for value in mine.values if value not in known]
    respelt = tuple((value, loose[_loose(value)]) for value in strange if _loose(value) in loose)
    new = tuple(value for value in strange if _loose(value) not in loose)
    gone = {_loose(value) for value in column.values} - {_loose(value) for value in mine.values}
    lines += [f"~ {mine.name}: '{value}' is '{column.values[code]}'" for value, code in respelt]
    lines += [f"+ {mine.name} = {_some(new)}: new"] if new else []
    lines += [f"- {mine.name} = {_some([v for v in column.values if _loose(v) in gone])}: not here"] if gone else []
    values = (*column.values, *new)
    return replace(
        found, values=values, shares=(*column.shares, *(0.0 for _ in new)), spellings=(*column.spellings, *respelt)
    ), lines


def _some(values: Iterable[str]) -> str:
    listed = list(values)
    return ", ".join(f"'{value}'" for value in listed[:5]) + (f" and {len(listed) - 5} more" if len(listed) > 5 else "")


def _roles_fit(a: Column, b: Column) -> bool:
    return a.role == b.role or {a.role, b.role} <= {"numeric", "boolean"}


def _loose(text: str) -> str:
    """Without case, blanks and punctuation."""
    return "".join(letter for letter in text.casefold() if letter.isalnum()) or text
