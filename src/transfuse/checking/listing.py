"""Findings as a table that people can act on in any editor or spreadsheet, and what they decided in it.

    path,problem,given,suggested,score,keep,split,about

`keep` decides: `yes` leaves the example as it is, `no` takes it out, `relabel` gives it the label under `suggested`.
"""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from transfuse.checking.findings import Finding
from transfuse.checking.seeing import Everything
from transfuse.core.atomic import write_bytes
from transfuse.core.errors import DataError

COLUMNS = ("path", "problem", "given", "suggested", "score", "keep", "split", "about")
_NEEDED = ("path", "given", "suggested", "keep")
_YES, _NO = ("", "yes", "y", "true", "1"), ("no", "n", "false", "0")


@dataclass(frozen=True, kw_only=True)
class Decision:
    """One row of the table that changes something."""

    row: int
    """Line in the file, the header being 1."""
    path: str
    given: str
    suggested: str
    keep: str
    """`no` or `relabel`."""


def rows_of(found: Sequence[Finding], every: Everything) -> list[dict[str, str]]:
    """One row a finding, as text."""
    return [
        {
            "path": every.examples.names[finding.place],
            "problem": finding.problem,
            "given": finding.given,
            "suggested": finding.suggested,
            "score": "" if finding.score is None else f"{finding.score:.4f}",
            "keep": finding.keep,
            "split": str(every.splits_N[finding.place]),
            "about": finding.about,
        }
        for finding in found
    ]


def write_findings(path: Path, rows: Sequence[dict[str, str]]) -> None:
    """The table as UTF-8 CSV, atomically."""
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_bytes(path, stream.getvalue().encode("utf-8", "surrogateescape"))  # names may be no text


def read_decisions(path: Path) -> list[Decision]:
    """The rows that change something. Raises `DataError` naming the line that cannot be understood."""
    try:
        text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise DataError(f"`{path}` must be a table written by check, but cannot be read: {error.strerror}.") from None
    reader = csv.DictReader(io.StringIO(text, newline=""), delimiter=_delimiter(text))
    missing = [column for column in _NEEDED if column not in (reader.fieldnames or ())]
    if missing:
        raise DataError(
            f"`{path}` must have the columns {', '.join(_NEEDED)}, but has no '{missing[0]}'. Give the table that"
            " `transfuse check DATA --out FOLDER` writes."
        )
    try:
        decided = [_decision(path, reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise DataError(f"`{path}` cannot be read as a table: line {reader.line_num}: {error}.") from None
    return [decision for decision in decided if decision.keep != "yes"]


def _delimiter(text: str) -> str:
    """Spreadsheets of some countries write semicolons or tabs."""
    return max(",;\t", key=text.partition("\n")[0].count)


def _decision(path: Path, line: int, row: dict[str, str | None]) -> Decision:
    word = (row["keep"] or "").strip().lower()
    keep = "yes" if word in _YES else "no" if word in _NO else word
    if keep not in ("yes", "no", "relabel"):
        raise DataError(f"`keep` must be yes, no or relabel, but is '{row['keep']}' in line {line} of {path}.")
    if keep == "relabel" and not (row["suggested"] or "").strip():
        raise DataError(f"`suggested` must hold the new label, but is empty in line {line} of {path}.")
    return Decision(
        row=line,
        path=row["path"] or "",
        given=row["given"] or "",
        suggested=(row["suggested"] or "").strip(),
        keep=keep,
    )
