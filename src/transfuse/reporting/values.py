"""How values are written for people, the same in the terminal and on the page."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from transfuse.core.tables import chosen

KINDS = (
    "table",
    "decisions",
    "curves",
    "confusion",
    "reliability",
    "front",
    "pictures",
    "warnings",
    "provenance",
    "text",
    "command",
)
"""Kinds of sections that can be drawn."""

DASH = "\N{EN DASH}"
THIN = "\N{NARROW NO-BREAK SPACE}"
SHOWN_PLACES = 5
LOWER_IS_BETTER = ("loss", "barrier", "error", "mae", "rmse", "seconds", "parameters", "size")


def section_kind(kind: str) -> str:
    """`kind` when a section of it can be drawn; raises `UnknownName`."""
    return chosen("kind of report section", kind, KINDS)


def measured(value: Any) -> bool:
    """Whether a cell is a measured value with its interval."""
    return isinstance(value, Mapping) and "value" in value


def number(value: Any, digits: int = 3) -> str:
    """A cell as text: three decimals for shares, thousands with thin spaces, a dash for what is unknown."""
    if value is None or (isinstance(value, float) and not math.isfinite(value)):
        return DASH
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {number(item)}" for key, item in value.items()) or DASH
    if isinstance(value, list | tuple):
        return ", ".join(number(item) for item in value) or DASH
    if not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        return f"{value:,}".replace(",", THIN) if abs(value) >= 10_000 else str(value)
    if value and abs(value) < 0.5 * 10**-digits:
        return f"{value:.2g}"
    return f"{value:.{digits}f}" if abs(value) < 100 else f"{value:,.1f}".replace(",", THIN)


def interval(value: Mapping[str, Any]) -> str:
    """`0.885–0.938`, or nothing when no interval is known; `to` between signed ends."""
    low, high = value.get("low"), value.get("high")
    if low is None or high is None or not (_finite(low) and _finite(high)):
        return ""
    joint = " to " if low < 0 else DASH
    return f"{number(float(low))}{joint}{number(float(high))}"


def cell(value: Any, column: str = "") -> str:
    """`0.913 (0.885–0.938, n=400)` for a measured value, `number` for others; seconds with one decimal."""
    if not measured(value):
        return number(value, 1 if column == "seconds" else 3)
    inside = [interval(value)] if interval(value) else []
    if value.get("n") is not None:
        inside.append(f"n={value['n']}")
    return f"{number(value['value'])} ({', '.join(inside)})" if inside else number(value["value"])


def plain_number(value: Any) -> float | None:
    """The number of a cell, measured or not; None when it holds none."""
    held = value["value"] if measured(value) else value
    return float(held) if _finite(held) else None


def heading(column: str) -> str:
    """A column's name for people: `log loss` for `log_loss`."""
    return column.replace("_", " ")


def emphasised_row(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> int | None:
    """Index of the row that was `chosen`; where none was, of the best one (see `best_row`)."""
    chosen_ones = [i for i, row in enumerate(rows) if row.get("chosen") is True]
    return chosen_ones[0] if chosen_ones else best_row(columns, rows)


def best_row(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> int | None:
    """Index of the row that is best in the first measured column; None when nothing is measured or one row is alone."""
    column = next((c for c in columns if any(measured(row.get(c)) for row in rows)), None)
    values = [(plain_number(row.get(column)), i) for i, row in enumerate(rows)] if column else []
    known = [(value, i) for value, i in values if value is not None]
    if len(known) < 2 or column is None:
        return None
    if any(word in column.lower() for word in LOWER_IS_BETTER):
        return min(known, key=lambda pair: (pair[0], pair[1]))[1]
    return max(known, key=lambda pair: (pair[0], -pair[1]))[1]


def places(paths: Sequence[str], shown: int = SHOWN_PLACES) -> list[str]:
    """The first few places and how many more there are."""
    more = len(paths) - shown
    return list(paths) if more <= 1 else [*paths[:shown], f"and {more} more"]


def _finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
