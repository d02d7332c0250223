"""`verify`: is a fused model still what was written, and are its parents still those it was made of?"""

from pathlib import Path

from transfuse.core.nouns import Report
from transfuse.fusing.record import changes, differences_in, read_record


def verify(folder: str | Path) -> Report:
    """Recompute the digests of the result and of its parents. Raises `ModelError` when there is no record.

    The report's `summary` says whether all agree; each row holds what changed.
    """
    folder = Path(folder)
    record = read_record(folder)
    rows = differences_in(folder, record)
    lines = changes(rows)
    recipe = record["recipe"]
    told = f"{len(lines)} change(s) since it was written." if lines else "Everything is as it was written."
    parents = len(record["parents"])
    return Report(
        title=f"{folder}: {recipe['method']} of {parents} checkpoint{'' if parents == 1 else 's'}",
        columns=("what", "path", "changed"),
        rows=tuple({**row, "changed": "; ".join(row["changed"][:5]) or "nothing"} for row in rows),
        summary=(told, *lines[:20]),
    )
