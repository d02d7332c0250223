"""`verify`: is a saved Model, a fusion or a report still what was written, and are a fusion's parents what it used?"""

from pathlib import Path
from typing import Any

from transfuse.core import sums
from transfuse.core.nouns import Report
from transfuse.fusing.record import RECORD, changes, differences_in, read_record
from transfuse.reporting.files import SUFFIXES, is_whole


def verify(path: str | Path) -> Report:
    """Recompute the digests of a folder that transfuse wrote, of a fusion's parents, or of a report's file.

    Raises `ModelError` when there is nothing to compare with. The report's `summary` says whether all agree; each row
    holds what changed.
    """
    path = Path(path)
    if path.is_file() and path.suffix.lower() in SUFFIXES:
        return _told([{"what": "report", "path": str(path), "changed": [] if is_whole(path) else ["it differs"]}], path)
    rows, title = [], str(path)
    if (path / sums.SUMS).is_file():
        rows.append({"what": "files", "path": str(path), "changed": sums.changes(path)})
    if (path / RECORD).is_file() or not rows:
        record = read_record(path)
        parents = len(record["parents"])
        title = f"{path}: {record['recipe']['method']} of {parents} checkpoint{'' if parents == 1 else 's'}"
        rows += differences_in(path, record)
    return _told(rows, title)


def _told(rows: list[dict[str, Any]], title: object) -> Report:
    lines = changes(rows)
    told = f"{len(lines)} change(s) since it was written." if lines else "Everything is as it was written."
    return Report(
        title=str(title),
        columns=("what", "path", "changed"),
        rows=tuple({**row, "changed": "; ".join(row["changed"][:5]) or "nothing"} for row in rows),
        summary=(told, *lines[:20]),
    )
