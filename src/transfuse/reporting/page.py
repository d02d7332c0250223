"""A report as ONE self-contained HTML page: style, script, charts and pictures inside, no network.

Class names and file names come from strangers. Templates escape them, charts escape them, and a Content-Security-Policy
lets nothing run but the page's own script (by its digest) and nothing load but pictures inside the page.
"""

import base64
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from transfuse.core.durations import spoken
from transfuse.core.nouns import Report, Section
from transfuse.core.provenance import plain
from transfuse.reporting import charts
from transfuse.reporting.values import (
    DASH,
    cell,
    emphasised_row,
    heading,
    interval,
    measured,
    number,
    plain_number,
    section_kind,
)

TEMPLATES = Path(__file__).parent / "templates"
_PICTURE = re.compile(r"data:image/(?:jpeg|png|webp|gif);base64,[A-Za-z0-9+/=]+")


def render_page(report: Report) -> str:
    """The page as HTML. Raises `UnknownName` when a section's kind cannot be drawn."""
    sections = _sections(report)
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        _environment()
        .get_template("page.html")
        .render(
            report=report,
            sections=sections,
            style=Markup((TEMPLATES / "page.css").read_text(encoding="utf-8")),
            script=Markup(script),
            script_digest=digest,
        )
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = cell
    environment.filters["spoken"] = spoken
    return environment


def _sections(report: Report) -> list[dict[str, Any]]:
    """Everything below the summary, in order: leaderboard, warnings, the report's sections, the command."""
    parts = list(report.sections)
    if report.rows:
        board = {"columns": list(report.columns), "rows": list(report.rows)}
        compared = emphasised_row(report.columns, report.rows) is not None
        parts.insert(0, Section(kind="table", title="Leaderboard" if compared else "Results", content=board))
    if report.warnings:
        parts.append(Section(kind="warnings", title="Data warnings", content=[plain(w) for w in report.warnings]))
    if report.command and not any(part.kind == "command" for part in parts):
        parts.append(Section(kind="command", title="Repeat it", content=report.command))
    drawn = [_drawn(part, i) for i, part in enumerate(parts)]
    _pair_up(drawn)
    return drawn


def _drawn(section: Section, i: int) -> dict[str, Any]:
    kind = section_kind(section.kind)
    views: dict[str, Callable[[Any], Any]] = {
        "table": table,
        "pictures": pictures,
        "curves": curves,
        "confusion": confusion,
        "reliability": reliability,
        "front": charts.front,
    }
    content = views[kind](section.content) if kind in views else section.content
    return {
        "id": f"section-{i}",
        "kind": kind,
        "title": section.title,
        "note": section.note,
        "content": content,
        "narrow": _narrow(section),
        "half": False,
    }


def _narrow(section: Section) -> bool:
    """Whether the section is as readable in half of the page's width."""
    if section.kind == "table":
        rows = section.content["rows"]
        return len(section.content["columns"]) <= 6 and not any(measured(v) for row in rows for v in row.values())
    small = section.kind == "confusion" and len(section.content["classes"]) <= 12
    return small or section.kind in ("curves", "reliability", "front")


def _pair_up(drawn: Sequence[dict[str, Any]]) -> None:
    """Put neighbours that are both narrow side by side; a lone one keeps the full width."""
    i = 0
    while i < len(drawn) - 1:
        together = drawn[i]["narrow"] and drawn[i + 1]["narrow"]
        if together:
            drawn[i]["half"] = drawn[i + 1]["half"] = True
        i += 2 if together else 1


def table(content: Mapping[str, Any]) -> dict[str, Any]:
    """Cells as the template wants them; the first measured column gets its intervals drawn on one scale."""
    columns, rows = list(content["columns"]), list(content["rows"])
    charted = next((c for c in columns if any(measured(row.get(c)) for row in rows)), None)
    scale = _scale([row.get(charted) for row in rows]) if charted else None
    emphasised = emphasised_row(columns, rows)
    heads = [
        _head(column, [row.get(column) for row in rows], column == charted and scale is not None) for column in columns
    ]
    lines = [
        {"best": i == emphasised, "cells": [_cell(row.get(head["name"]), head, scale) for head in heads]}
        for i, row in enumerate(rows)
    ]
    return {
        "heads": heads,
        "rows": lines,
        "charted": charted is not None,
        "compared": emphasised is not None,
        "chosen": any(row.get("chosen") is True for row in rows),
    }


def _head(column: str, values: Sequence[Any], charted: bool) -> dict[str, Any]:
    counts = {value.get("n") for value in values if measured(value)}
    shared = next(iter(counts)) if len(counts) == 1 else None
    numeric = all(
        value is None or plain_number(value) is not None or measured(value) or value != value for value in values
    )
    return {
        "name": column,
        "label": heading(column),
        "numeric": numeric and bool(values),
        "n": shared,
        "charted": charted,
    }


def _cell(value: Any, head: Mapping[str, Any], scale: tuple[float, float] | None) -> dict[str, Any]:
    held = plain_number(value)
    drawn: dict[str, Any] = {
        "text": cell(value, head["name"]),
        "small": "",
        "chart": "",
        "sort": "" if held is None else held,
    }
    if not measured(value):
        return drawn
    small = [interval(value)] if interval(value) else []
    if head["n"] is None and value.get("n") is not None:
        small.append(f"n={value['n']}")
    drawn |= {"text": number(value["value"]), "small": ", ".join(small)}
    if head["charted"] and scale and held is not None:
        known = bool(interval(value))
        drawn["chart"] = charts.whisker(held, value["low"] if known else None, value["high"] if known else None, scale)
    return drawn


def _scale(values: Sequence[Any]) -> tuple[float, float] | None:
    """From the lowest end of an interval to the highest."""
    ends = [
        plain_number(end)
        for value in values
        if measured(value)
        for end in (value["value"], value.get("low"), value.get("high"))
    ]
    known = [end for end in ends if end is not None]
    return (min(known), max(known)) if known else None


def pictures(content: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Pictures whose data lies in the page; anything else than picture data is left out."""
    return [
        {
            "image": Markup(p["image"]) if _PICTURE.fullmatch(str(p.get("image", ""))) else "",
            "name": p.get("name", ""),
            "truth": p.get("truth", ""),
            "said": p.get("said", "truly"),
            "answer": p.get("answer", ""),
            "confidence": "" if p.get("confidence") is None else number(p["confidence"], 2),
        }
        for p in content
    ]


def curves(content: Mapping[str, Any]) -> dict[str, Any]:
    """The chart and its legend with the last values."""
    legend = []
    for i, line in enumerate(content["series"]):
        known = charts.known_points(line["points"])
        last = number(known[-1][1]) if known else DASH
        legend.append({"name": line["name"], "colour": i % charts.SERIES, "last": last})
    return {"chart": charts.curves(content), "legend": legend}


def confusion(content: Mapping[str, Any]) -> dict[str, Any]:
    """The heat map, and in words the answers that go wrong most often."""
    columns = ["truth", "answer", "count", "share of truth"]
    wrong = charts.most_confused(content)
    counts = content["counts"]
    return {
        "chart": charts.confusion(content),
        "wrong": table({"columns": columns, "rows": wrong}) if wrong else None,
        "dense": len(counts) > charts.COUNTS_UP_TO,
        "classes": [str(name) for name in content["classes"]],
        "counts": ";".join(f"{i},{j}:{n}" for i, row in enumerate(counts) for j, n in enumerate(row) if n),
    }


def reliability(content: Mapping[str, Any]) -> dict[str, Any]:
    """The chart and the calibration error."""
    return {"chart": charts.reliability(content), "error": number(content.get("error"))}
