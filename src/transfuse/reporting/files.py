"""Reports to files: `.json` for programs, `.html` for people; both atomically."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transfuse.core import digests
from transfuse.core.atomic import write_bytes, write_text
from transfuse.core.documents import is_sealed, sealed
from transfuse.core.errors import UsageError
from transfuse.core.nouns import Report
from transfuse.core.provenance import plain

SCHEMA = 1
"""Version of the JSON form; grows when a key changes its meaning."""


_MARK = b"<!-- sha256 of all before: %s -->\n"
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

        page = render_page(report).encode(errors="backslashreplace")
        write_bytes(path, page + _MARK % digests.of_bytes(page).encode())
    else:
        write_text(path, render_json(report))
    return path


def is_whole(path: str | Path) -> bool:
    """Whether a report's file, .json or .html, is as it was written: by the digest in it."""
    data, length = Path(path).read_bytes(), len(_MARK % (b"0" * 64))
    if require_suffix(path) == ".html":
        return data[-length:] == _MARK % digests.of_bytes(data[:-length]).encode()
    try:
        document = json.loads(data)
    except ValueError:
        return False
    return (
        isinstance(document, dict)
        and is_sealed(document)
        and data == _rendered(document).encode(errors="backslashreplace")
    )


def render_json(report: Report) -> str:
    """The report as JSON of plain values with a schema version; what is not a finite number is null."""
    document = sealed({"schema": SCHEMA, **document_of(report)})
    return _rendered(document)


def _rendered(document: Mapping[str, Any]) -> str:
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
