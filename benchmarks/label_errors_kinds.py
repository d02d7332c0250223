"""Planted label errors that `check` finds where labels are several, numbers, or of rows of a table.

    python benchmarks/label_errors_kinds.py [--labels BLOOD_CELLS] [--numbers CSV] [--rows CSV --target NAME]

BLOOD_CELLS is a COCO data set, whose pictures carry several labels; one of (example, class) in so many is turned over.
CSV of `--numbers` has a number as its last column: it is replaced by another row's, or slips by a decimal place up or
down. CSV of `--rows` has a column of classes: they are turned to another one. Nothing else is told to `check`: pictures
are judged by the network inside the package, rows by boosted trees on their cells, all out of fold, all splits alike.
Found: of the labels that were changed, how many are named; precision: of the named, how many were changed (labels that
were wrong or odd before count against it); average precision of the order, where all labels have a score. Chance would
have a precision of the planted share. Means over seeds with 95 % t-intervals over the seeds.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from label_errors import Row, relabelled, show, summed
from sklearn.metrics import average_precision_score

import transfuse as tr
from transfuse.checking.copies import copies
from transfuse.checking.examining import units_of
from transfuse.checking.judging import answered
from transfuse.checking.seeing import everything, seen
from transfuse.checking.wrong_labels import suspects
from transfuse.core.nouns import Task

SHARES = (0.02, 0.05, 0.1, 0.2)
WAYS = {"multi-label": ("turned over",), "single-label": ("another class",), "regression": ("another row's", "slipped")}


def planted(task: Task, share: float, way: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Targets of which a share is wrong, and which cells (N, C) those are; all splits alike."""
    given = everything(task).examples.targets
    generator = np.random.default_rng(seed)
    new = given.copy() if given.ndim == 2 else given[:, None].copy()
    places = generator.permutation(new.size)[: round(share * new.size)]
    rows, columns = np.unravel_index(places, new.shape)
    if way == "turned over":
        new[rows, columns] = 1 - new[rows, columns]
    elif way == "another class":
        new[rows, 0] = (new[rows, 0] + generator.integers(1, len(task.classes), len(rows))) % len(task.classes)
    elif way == "another row's":
        new[rows, columns] = new[(rows + generator.integers(1, len(new), len(rows))) % len(new), columns]
    else:
        new[rows, columns] = new[rows, columns] * generator.choice([0.1, 10.0], len(rows))
    new = new if given.ndim == 2 else new[:, 0]
    changed = (new != given) if given.ndim == 2 else (new != given)[:, None]
    return new, changed


def one(task: Task, x_ND: np.ndarray, by: str, share: float, way: str, seed: int) -> Row:
    """Found, precision, average precision and the estimated share, with one set of planted errors."""
    every = everything(task)
    units_N = units_of(every, copies(every.examples, task.modality))
    targets, changed_NC = planted(task, share, way, seed)
    outputs_NC = answered(x_ND, relabelled(task, targets), units_N, by, seed=seed).outputs_NC
    wrong = suspects(task.kind, targets, outputs_NC, seed=seed)
    named_NC = np.zeros(changed_NC.shape, bool)
    named_NC[wrong.rows_M, wrong.columns_M] = True
    hits = int((named_NC & changed_NC).sum())
    score_NC = _doubt(task, targets, outputs_NC)
    return {
        "found": hits / max(int(changed_NC.sum()), 1),
        "precision": hits / max(int(named_NC.sum()), 1),
        "average precision": float(average_precision_score(changed_NC.ravel(), score_NC.ravel())),
        "named": float(named_NC.mean()),
        "estimated share": wrong.share["value"],
    }


def _doubt(task: Task, targets: np.ndarray, outputs_NC: np.ndarray) -> np.ndarray:
    """How little each given label (N, C) is believed."""
    if task.kind == "single-label":
        return 1 - outputs_NC[np.arange(len(targets)), targets][:, None]
    return np.abs(targets - outputs_NC)


def measured(name: str, task: Task, seeds: int) -> Iterator[Row]:
    """All shares and ways of one task."""
    x_ND, by = seen(task, None)
    cells = len(x_ND) * (1 if task.kind == "single-label" else len(task.classes))
    for way in WAYS[task.kind]:
        for share in SHARES:
            runs = [one(task, x_ND, by, share, way, seed) for seed in range(seeds)]
            said = {"data": name, "labels": cells, "planted": f"{share:.0%} {way}", "judge": by}
            yield {**said, "runs": runs, **summed(runs, list(runs[0]))}


def main() -> None:
    """Run what was given and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("--labels", "--numbers", "--rows", "--out"):
        parser.add_argument(option, type=Path)
    parser.add_argument("--target")
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    given: dict[str, dict[str, Any]] = {
        "labels": {"kind": "multi-label"},
        "numbers": {"kind": "regression", "modality": "table"},
        "rows": {"kind": "single-label", "modality": "table", "target": arguments.target},
    }
    rows: list[Row] = []
    for option, options in given.items():
        path = getattr(arguments, option)
        if path is None:
            continue
        if option == "numbers":
            options["target"] = path.read_text(encoding="utf-8").splitlines()[0].split(",")[-1]
        task = tr.task(path, test=0.0, seed=0, **options)
        found = list(measured(path.stem if path.is_dir() else path.parent.name, task, arguments.seeds))
        show(
            f"{found[0]['data']}, {arguments.seeds} seeds",
            [{k: v for k, v in r.items() if k not in ("data", "runs")} for r in found],
        )
        rows += found
        if arguments.out:
            arguments.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
