"""A report in the terminal: findings, leaderboard, warnings with their places, small tables, the command.

Text from strangers (class names, paths) is never read as markup and cannot send control codes to the terminal.
"""

import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from transfuse.core.durations import spoken
from transfuse.core.nouns import Report, Section
from transfuse.core.provenance import plain
from transfuse.reporting.values import THIN, cell, emphasised_row, heading, places, section_kind

ROWS_SHOWN = 30
PAGE_ONLY = ("curves", "confusion", "reliability", "front", "pictures")
"""Kinds that only the page draws."""


def render_text(report: Report) -> str:
    """The report as plain text of 120 columns, without colours."""
    stream = io.StringIO()
    show(report, Console(file=stream, width=120, force_terminal=False, color_system=None, legacy_windows=False))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def show(report: Report, console: Console) -> None:
    """Print the report. Raises `UnknownName` when a section's kind cannot be drawn."""
    for section in report.sections:
        section_kind(section.kind)
    for part in _parts(report):
        console.print(part, highlight=False)
    if report.command and not any(section.kind == "command" for section in report.sections):
        console.print(_command(report.command), highlight=False, soft_wrap=True)


def safe(text: object) -> str:
    """Text without control characters, so that a file's name cannot steer the terminal."""
    return "".join(c if c.isprintable() or c == THIN else "\N{REPLACEMENT CHARACTER}" for c in str(text))


def _parts(report: Report) -> Iterable[RenderableType]:
    yield Text(safe(report.title), style="bold")
    for sentence in report.summary:
        yield Padding(Text(safe(sentence)), (0, 0, 0, 2))
    if report.rows:
        yield _table(report.columns, report.rows)
    if report.warnings:
        yield _warnings([plain(warning) for warning in report.warnings])
    for section in report.sections:
        if section.kind not in PAGE_ONLY:
            yield from _section(section)


def _section(section: Section) -> Iterable[RenderableType]:
    yield Text(f"\n{safe(section.title)}", style="bold")
    if section.note:
        yield Text(safe(section.note), style="dim")
    if section.kind == "table":
        yield _table(section.content["columns"], section.content["rows"])
    elif section.kind == "decisions":
        yield Group(*(line for decision in section.content for line in _decision(decision)))
    elif section.kind == "warnings":
        yield _warnings(section.content)
    elif section.kind == "provenance":
        yield Group(*(Text(line) for line in _tree(section.content, 1)))
    elif section.kind == "text":
        yield Group(*(Padding(Text(safe(paragraph)), (0, 0, 0, 2)) for paragraph in section.content))
    else:
        yield _command(section.content)


def _decision(decision: Mapping[str, Any]) -> Iterable[RenderableType]:
    answer = Text(f" {safe(decision['decision'])}", style="bold")
    yield Padding(Text(safe(decision["question"])) + answer, (0, 0, 0, 2))
    yield Padding(Text(safe(decision["evidence"]), style="dim"), (0, 0, 0, 4))


def _table(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        values = [row.get(column) for row in rows]
        words = any(isinstance(value, str) for value in values)
        table.add_column(Text(safe(heading(column))), justify="left" if words else "right", overflow="fold")
    emphasised = emphasised_row(columns, rows)
    for i, row in enumerate(rows[:ROWS_SHOWN]):
        cells = (Text(safe(cell(row.get(column, ""), column))) for column in columns)
        table.add_row(*cells, style="bold" if i == emphasised else None)
    if len(rows) <= ROWS_SHOWN:
        return table
    return Group(table, Text(f" and {len(rows) - ROWS_SHOWN} more rows: see the page or the JSON file", style="dim"))


def _warnings(warnings: Sequence[Mapping[str, Any]]) -> RenderableType:
    lines: list[RenderableType] = []
    for warning in warnings:
        severity = warning.get("severity", "warning")
        head = Text(f"{severity}: ", style="yellow" if severity == "warning" else "dim")
        lines.append(head + Text(f"{safe(warning['message'])} [{safe(warning['code'])}]"))
        lines.extend(Padding(Text(safe(place), overflow="fold"), (0, 0, 0, 4)) for place in places(warning["places"]))
    return Group(*lines)


def _tree(step: Mapping[str, Any], level: int) -> Iterable[str]:
    """One line a step; the options are in the page and in the JSON."""
    name = " ".join(safe(part) for part in (step.get("verb"), step.get("method")) if part)
    yield f"{'  ' * level}{name}" + (f" ({spoken(step['seconds'])})" if step.get("seconds") else "")
    for child in step.get("inputs", ()):
        yield from _tree(child, level + 1)


def _command(command: str) -> RenderableType:
    return Group(Text("\nrepeat with:", style="dim"), Text(f"  {safe(command)}"))
