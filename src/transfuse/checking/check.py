"""check: what is wrong with labelled data, before anything is learnt from it.

Opening the data names what cannot be read and what the splits do; copies and contradictions are looked for among all
examples; labels that are likely wrong by the answers of a probe that has not seen them. Nothing is changed: findings
are a table in which the user decides, and `cleaned` makes a new task of it.
"""

from pathlib import Path
from typing import Any

from transfuse.checking.examining import examined
from transfuse.checking.listing import rows_of, write_findings
from transfuse.checking.report import report
from transfuse.core import verbs
from transfuse.core.atomic import require_writable
from transfuse.core.nouns import Report, Source
from transfuse.core.runs import Run

TABLE, PAGE = "findings.csv", "report.html"
"""Files that `check` writes into its folder."""


def check(
    data: Any,
    *,
    source: Source | str | Path | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    trust_code: bool = False,
    run: Run = Run(),
    command: str = "",
) -> Report:
    """What is wrong with labelled data: copies, contradictions, likely wrong labels, and what opening them finds.

    Args:
        data: A Task, or whatever one can be opened from. All splits are looked at.
        source: By whose frozen features wrong labels are looked for; None takes the network inside the package for
            pictures and the words for texts.
        out: Folder for `report.html` and `findings.csv`, the table for `cleaned`.
        seed: Of splits, folds and intervals.
        trust_code: Allow a source that is built by the user's own function.
        run: Watcher.
        command: What repeats this, for the report.

    Raises:
        DataError: Nothing that can be learnt.
        SourceError, WeightsError, UsageError: The source cannot be had.
        StorageError: `out` cannot be written.
    """
    if out is not None:
        require_writable(Path(out) / PAGE)
    task = verbs.call("task", data, seed=seed, run=run)
    checked = examined(task, source, seed=seed, trust_code=trust_code, run=run)
    made = report(checked, command=command)
    if out is not None:
        write_findings(Path(out) / TABLE, rows_of(checked.found, checked.every))
        made.save(Path(out) / PAGE)
    return made
