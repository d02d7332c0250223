"""cleaned: a new Task, as the user decided in the table of findings.

The old task stays as it is. The new one has its own digest, and its description, which every model's provenance takes
along, says from which task it came and what was removed or relabelled.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from transfuse.checking.labels import read, written
from transfuse.checking.listing import Decision, read_decisions
from transfuse.core import verbs
from transfuse.core.digests import of_file
from transfuse.core.errors import DataError
from transfuse.core.nouns import DataWarning, Examples, Task
from transfuse.core.runs import Run
from transfuse.core.tables import unknown
from transfuse.tasks.assembling import task_digest
from transfuse.tasks.checking import targets_warnings
from transfuse.tasks.joining import concatenated, taken
from transfuse.tasks.targets import Targets

_STALE = (
    "class-not-in-train", "class-without-examples", "class-missing-in-split", "class-always-present", "small-class",
    "imbalance", "constant-target",
)  # fmt: skip
"""Warnings about targets, which are made anew."""
_ABOUT_COPIES = (
    "duplicate-across-splits",
    "near-duplicate-across-splits",
    "contradictory-labels",
    "copies-kept-together",
)


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """What is to be done to one split."""

    removed: frozenset[int]
    relabelled: Mapping[int, np.ndarray]


def cleaned(data: Any, table: str | Path, *, seed: int = 0, run: Run = Run()) -> Task:
    """A new Task without the examples that are marked `no`, with new labels for those marked `relabel`.

    Args:
        data: The Task that was checked, or whatever it can be opened from.
        table: The table of findings with the user's decisions in `keep`; rows marked `yes` change nothing.
        seed: Of the splits, as it was for the check.
        run: Watcher.

    Raises:
        DataError: A table of other data, decisions that contradict one another, or nothing left to learn.
        UnknownName: A new label that the task does not know.
    """
    task = verbs.call("task", data, seed=seed, run=run)
    decisions = read_decisions(Path(table))
    plans = _plans(task, decisions)
    splits = {name: _changed(task.splits[name], plan) for name, plan in plans.items()}
    for name, examples in splits.items():
        if not len(examples):
            raise DataError(f"The split '{name}' must keep some examples, but the table takes all of them out.")
    record = _record(task, plans)
    return replace(
        task,
        splits=splits,
        digest=task_digest(task.kind, task.classes, splits),
        warnings=_warnings(task, splits, record),
        description={
            **task.description,
            "cleaned": {"from": task.digest, "table": of_file(Path(table)), **record},
        },
    )


def _plans(task: Task, decisions: Sequence[Decision]) -> dict[str, _Plan]:
    """Who goes and who gets which label, by split. An example that one row removes needs no new label."""
    where: dict[str, list[tuple[str, int]]] = {}
    for split, examples in task.splits.items():
        for place, name in enumerate(examples.names):
            where.setdefault(name, []).append((split, place))
    removed: dict[str, set[int]] = {split: set() for split in task.splits}
    new: dict[str, dict[int, np.ndarray]] = {split: {} for split in task.splits}
    for decision in decisions:
        for split, place in _meant(task, where, decision):
            if decision.keep == "no":
                removed[split].add(place)
                continue
            target = _target(task, decision)
            if place in new[split] and np.any(new[split][place] != target):
                raise DataError(
                    f"'{decision.path}' must get one new label, but the table gives it two (line {decision.row})."
                )
            new[split][place] = target
    return {
        split: _Plan(
            removed=frozenset(removed[split]),
            relabelled={place: t for place, t in new[split].items() if place not in removed[split]},
        )
        for split in task.splits
    }


def _meant(task: Task, where: Mapping[str, list[tuple[str, int]]], decision: Decision) -> list[tuple[str, int]]:
    """The examples of a row: by name, and by the label that they had when they were checked."""
    if decision.path not in where:
        error = unknown("example", decision.path, where) if len(where) <= 50 else None
        hint = f" {error}" if error else ""
        raise DataError(
            f"Every row must name an example of '{task.name}', but line {decision.row} names '{decision.path}'.{hint}"
            " Give the table that was made of these data, and the same options."
        )
    found = [
        (split, place)
        for split, place in where[decision.path]
        if written(task.kind, task.classes, task.splits[split].targets[place]) == decision.given
    ]
    if not found:
        split, place = where[decision.path][0]
        now = written(task.kind, task.classes, task.splits[split].targets[place])
        raise DataError(
            f"'{decision.path}' must still be labelled '{decision.given}' (line {decision.row}), but is '{now}'."
            " Check the data again and decide anew."
        )
    return found


def _target(task: Task, decision: Decision) -> np.ndarray:
    try:
        return read(task.kind, task.classes, decision.suggested)
    except DataError as error:
        raise DataError(f"{error} It stands in line {decision.row} under `suggested`.") from None


def _changed(examples: Examples, plan: _Plan) -> Examples:
    targets = examples.targets.copy()
    for place, target in plan.relabelled.items():
        targets[place] = target
    stay = np.array([place for place in range(len(examples)) if place not in plan.removed], np.int64)
    return taken(replace(examples, targets=targets), stay)


def _record(task: Task, plans: Mapping[str, _Plan]) -> dict[str, Any]:
    """What was done, by the examples' names."""
    removed = [task.splits[split].names[place] for split, plan in plans.items() for place in sorted(plan.removed)]
    relabelled = [
        {
            "example": task.splits[split].names[place],
            "from": written(task.kind, task.classes, task.splits[split].targets[place]),
            "to": written(task.kind, task.classes, target),
        }
        for split, plan in plans.items()
        for place, target in sorted(plan.relabelled.items())
    ]
    return {"removed": removed, "relabelled": relabelled}


def _warnings(task: Task, splits: Mapping[str, Examples], record: Mapping[str, Any]) -> tuple[DataWarning, ...]:
    """What is still true of the old warnings, what is true of the new targets, and what was done."""
    parts = np.concatenate([np.full(len(examples), name, "U16") for name, examples in splits.items()])
    targets = Targets(kind=task.kind, classes=task.classes, values=concatenated(*splits.values()).targets)
    touched = {*record["removed"], *(row["example"] for row in record["relabelled"])}
    old = [_still(warning, touched) for warning in task.warnings if warning.code not in _STALE]
    done = DataWarning(
        code="cleaned",
        message=f"{len(record['removed'])} example(s) were removed and {len(record['relabelled'])} relabelled, as a"
        " table of findings says.",
        places=tuple(record["removed"])
        + tuple(f"{r['example']}: {r['from']} > {r['to']}" for r in record["relabelled"]),
        severity="note",
    )
    return (*(warning for warning in old if warning is not None), *targets_warnings(targets, parts), done)


def _still(warning: DataWarning, touched: set[str]) -> DataWarning | None:
    """A warning about copies without the pairs in which something was done; None when no pair is left."""
    if warning.code not in _ABOUT_COPIES:
        return warning
    left = tuple(pair for pair in warning.places if not any(_names(pair, name) for name in touched))
    rest = warning.message.partition(" ")[2]
    return replace(warning, places=left, message=f"{len(left)} {rest}") if left else None


def _names(pair: str, name: str) -> bool:
    """Whether a pair, written `a (train) = b (test)` or `a = b`, names an example."""
    return any(pair.startswith(f"{name}{end}") for end in (" (", " = ")) or f" = {name} (" in f"{pair} ("
