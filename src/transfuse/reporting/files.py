"""Reports to files: `.json` for programs, `.html` for people; both atomically."""

import json
import math
from pathlib import Path
from typing import Any

from transfuse.core.atomic import write_text
from transfuse.core.errors import UsageError
from transfuse.core.nouns import Report
from transfuse.core.provenance import plain

SCHEMA = 1
"""Version of the JSON form; grows when a key changes its meaning."""


SUFFIXES = (".html", ".json")


def require_suffix(path: str | Path) -> str:
    """The ending that says in which form a report is written. Raises `UsageError` for another."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise UsageError(f"A report's file must end in .html or .json, but is '{path}'. Give it one of these endings.")
    return suffix


def save_report(report: Report, path: str | Path) -> Path:
    """Write by the suffix of `path`, `.html` or `.json`. Raises `UsageError`, `UnknownName`, `StorageError`."""
    path = Path(path)
    if require_suffix(path) == ".html":
        from transfuse.reporting.page import render_page  # with its templates, which the other form need not load

        write_text(path, render_page(report))
    else:
        write_text(path, render_json(report))
    return path


def render_json(report: Report) -> str:
    """The report as JSON of plain values with a schema version; what is not a finite number is null."""
    document = {"schema": SCHEMA, **document_of(report)}
    return json.dumps(document, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def document_of(report: Report) -> dict[str, Any]:
    """The report as plain values."""
    document: dict[str, Any] = finite(plain(report))
    return document


def finite(value: Any) -> Any:
    """A plain value with None for every number that JSON cannot hold."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
