"""Planted label errors that `check` finds, against cleanlab's own filters and a vote of neighbours, and what it buys.

    python benchmarks/label_errors.py --signs SIGNS [--texts SMS CLINC] [--seeds 5] [--out results.json]

SIGNS is a folder of class folders with train/ and test/; SMS and CLINC are folders with train.csv and test.csv of
texts and labels; scikit-learn's digits (900 to learn from) come with it. A share of the training labels is changed: to
any other class, or (`confusable`) to the class that a probe of the right labels takes next. Nothing else is told to
`check`: pictures are judged by the network inside the package, texts by tf-idf. Equal for all finders: features, and
for all but the neighbours the same out-of-fold probabilities. Labels that were wrong before count as false alarms.
Every figure is a mean over seeds with its 95 % t-interval; buying: accuracy of a ridge head on the untouched test set.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from cleanlab.filter import find_label_issues
from rich.console import Console
from rich.table import Table
from scipy import stats
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score
from sklearn.neighbors import NearestNeighbors

import transfuse as tr
from transfuse.checking.copies import copies
from transfuse.checking.examining import units_of
from transfuse.checking.judging import answered
from transfuse.checking.seeing import everything, seen
from transfuse.checking.wrong_labels import suspects
from transfuse.core.nouns import Task
from transfuse.probing.heads import fit_head, logits

SHARES = (0.0, 0.02, 0.05, 0.1, 0.2)
NEIGHBOURS = 10
Row = dict[str, Any]


@dataclass(frozen=True)
class Data:
    """Features of a learning and a test set, extracted once: changed labels do not change them."""

    name: str
    task: Task
    x_ND: np.ndarray
    units_N: np.ndarray
    test_x_ND: np.ndarray
    test_y_N: np.ndarray
    by: str
    """Whose features, as `check` says it."""


def of_folders(name: str, train: Any, test: Any) -> Data:
    """Two sets that are opened as `check` opens them; the learning set without a test split."""
    task = tr.task(train, test=0.0, seed=0, kind="single-label")
    other = tr.task(test, test=0.0, seed=0, kind="single-label")
    if task.modality == "text":  # one vocabulary for both
        both = replace(task, splits={**task.splits, "test": everything(other).examples})
        x_ND, by = seen(both, None)
        count = len(everything(task).examples)
        x_ND, test_x_ND = x_ND[:count], x_ND[count:]
    else:
        (x_ND, by), (test_x_ND, _) = seen(task, None), seen(other, None)
    every = everything(task)
    order = [task.classes.index(name) for name in other.classes]
    test_y_N = np.array(order)[everything(other).examples.targets]
    units_N = units_of(every, copies(every.examples, task.modality))
    return Data(name, task, x_ND, units_N, test_x_ND, test_y_N, by)


def digits() -> Data:
    """Scikit-learn's digits, 900 to learn from and 897 to test."""
    pixels, y = load_digits(return_X_y=True)
    pictures = (pixels.reshape(-1, 8, 8) * 15.9).astype(np.uint8)
    order = np.random.default_rng(0).permutation(len(y))
    parts = [(pictures[rows], y[rows]) for rows in (order[:900], order[900:])]
    return of_folders("digits", *parts)


def planted(data: Data, share: float, kind: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels of which a share is wrong, and where; all splits of the learning set alike."""
    y_N = everything(data.task).examples.targets
    generator = np.random.default_rng(seed)
    wrong_N = np.zeros(len(y_N), bool)
    wrong_N[generator.permutation(len(y_N))[: round(share * len(y_N))]] = True
    classes = len(data.task.classes)
    new_N = (y_N + generator.integers(1, classes, len(y_N))) % classes
    if kind == "confusable":
        p_NC = answered(data.x_ND, data.task, data.units_N, data.by).outputs_NC.copy()
        p_NC[np.arange(len(y_N)), y_N] = -1
        new_N = p_NC.argmax(axis=1)
    return np.where(wrong_N, new_N, y_N), wrong_N


def relabelled(task: Task, y_N: np.ndarray) -> Task:
    """The task with other labels, in the order of `everything`."""
    starts = np.cumsum([0, *(len(examples) for examples in task.splits.values())])
    splits = {
        name: replace(examples, targets=y_N[start : start + len(examples)])
        for start, (name, examples) in zip(starts, task.splits.items(), strict=False)
    }
    return replace(task, splits=splits)


def vote(x_ND: np.ndarray, y_N: np.ndarray, classes: int) -> np.ndarray:
    """Shares (N, C) of labels among the nearest neighbours by cosine of standardised features."""
    spread_D = x_ND.std(axis=0)
    unit_ND = (x_ND - x_ND.mean(axis=0)) / np.where(spread_D > 0, spread_D, 1)
    _, places = NearestNeighbors(n_neighbors=NEIGHBOURS + 1, metric="cosine").fit(unit_ND).kneighbors(unit_ND)
    return np.eye(classes)[y_N][places[:, 1:]].mean(axis=1)


def finders(data: Data, y_N: np.ndarray, p_NC: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Whom each finder names, and by which score it orders all examples (lower is more suspicious)."""
    rows = np.arange(len(y_N))
    named = np.zeros(len(y_N), bool)
    named[suspects("single-label", y_N, p_NC).rows_M] = True
    votes_NC = vote(data.x_ND, y_N, p_NC.shape[1])
    found = {"check": (named, p_NC[rows, y_N])}
    for how in ("prune_by_noise_rate", "confident_learning", "low_self_confidence"):
        found[f"cleanlab {how}"] = (find_label_issues(y_N, p_NC, filter_by=how, n_jobs=1), p_NC[rows, y_N])
    found["neighbours"] = (votes_NC.argmax(axis=1) != y_N, votes_NC[rows, y_N])
    return found


def found_rows(data: Data, y_N: np.ndarray, wrong_N: np.ndarray, p_NC: np.ndarray) -> list[Row]:
    """Precision, recall and average precision of each finder."""
    rows = []
    for name, (named_N, score_N) in finders(data, y_N, p_NC).items():
        hits = int((named_N & wrong_N).sum())
        rows.append(
            {
                "finder": name,
                "named": float(named_N.mean()),
                "precision": hits / max(int(named_N.sum()), 1),
                "recall": hits / max(int(wrong_N.sum()), 1),
                "average precision": float(average_precision_score(wrong_N, -score_N)) if wrong_N.any() else None,
            }
        )
    return rows


def bought(data: Data, y_N: np.ndarray, wrong_N: np.ndarray, p_NC: np.ndarray) -> Row:
    """Accuracy on the test set of heads that learnt from the labels as given, without suspects, relabelled, right."""
    true_N = everything(data.task).examples.targets
    suspected = suspects("single-label", y_N, p_NC)
    kept_N = np.ones(len(y_N), bool)
    kept_N[suspected.rows_M] = False
    changed_N = np.where(kept_N, y_N, p_NC.argmax(axis=1))
    sets: dict[str, tuple[np.ndarray, np.ndarray]] = {
        "as given": (np.ones(len(y_N), bool), y_N),
        "suspects removed": (kept_N, y_N),
        "suspects relabelled": (np.ones(len(y_N), bool), changed_N),
        "planted errors removed": (~wrong_N, y_N),
        "right labels": (np.ones(len(y_N), bool), true_N),
    }
    return {name: accuracy(data, rows, labels_N) for name, (rows, labels_N) in sets.items()}


def accuracy(data: Data, rows_N: np.ndarray, y_N: np.ndarray) -> float:
    """Of a ridge head on the test set."""
    classes = len(data.task.classes)
    head = fit_head(data.x_ND[rows_N], y_N[rows_N], "single-label", method="ridge", classes=classes)
    return float((logits(head, data.test_x_ND).argmax(axis=1) == data.test_y_N).mean())


def one(data: Data, share: float, kind: str, seed: int) -> tuple[list[Row], Row, Row]:
    """Everything that is measured with one set of planted errors."""
    y_N, wrong_N = planted(data, share, kind, seed)
    p_NC = answered(data.x_ND, relabelled(data.task, y_N), data.units_N, data.by, seed=seed).outputs_NC
    estimate = suspects("single-label", y_N, p_NC).share
    inside = estimate["low"] <= share <= estimate["high"]
    told = {"estimated share": estimate["value"], "planted share inside its interval": float(inside)}
    return found_rows(data, y_N, wrong_N, p_NC), told, bought(data, y_N, wrong_N, p_NC)


def mean(values: Sequence[float | None]) -> str:
    """Mean over seeds and its t-interval."""
    known = np.array([value for value in values if value is not None])
    if not len(known):
        return ""
    if len(known) < 2 or np.ptp(known) == 0:
        return f"{known.mean():.3f}"
    half = stats.t.ppf(0.975, len(known) - 1) * known.std(ddof=1) / np.sqrt(len(known))
    return f"{known.mean():.3f} ± {half:.3f}"


def show(title: str, rows: Sequence[Row]) -> None:
    """A table of means."""
    table = Table(*rows[0], title=title)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    Console(width=190).print(table)


def summed(runs: Sequence[Row], columns: Sequence[str]) -> Row:
    """Means of the columns."""
    return {column: mean([run[column] for run in runs]) for column in columns}


def measured(data: Data, share: float, kind: str, seeds: int) -> Row:
    """All seeds of one share: tables, and the raw figures."""
    runs = [one(data, share, kind, seed) for seed in range(seeds)]
    said = f"{data.name} (n = {len(data.x_ND)}), {share:.0%} {kind}, {seeds} seeds"
    if share:
        names = [row["finder"] for row in runs[0][0]]
        by_finder = [[next(row for row in found if row["finder"] == name) for found, _, _ in runs] for name in names]
        columns = ("named", "precision", "recall", "average precision")
        show(said, [{"finder": n, **summed(rows, columns)} for n, rows in zip(names, by_finder, strict=True)])
    told, buys = [run[1] for run in runs], [run[2] for run in runs]
    show(
        f"{said}: estimated share, and accuracy on {len(data.test_y_N)}",
        [{**summed(told, list(told[0])), **summed(buys, list(buys[0]))}],
    )
    return {"data": data.name, "share": share, "kind": kind, "runs": runs}


def main() -> None:
    """Run everything and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--signs", type=Path)
    parser.add_argument("--texts", type=Path, nargs="*", default=[])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    sets: list[Callable[[], Data]] = [digits]
    if arguments.signs:
        sets.append(lambda: of_folders("signs", arguments.signs / "train", arguments.signs / "test"))
    for folder in arguments.texts:
        sets.append(lambda folder=folder: of_folders(folder.name, folder / "train.csv", folder / "test.csv"))
    rows = []
    for make in sets:
        data = make()
        for share, kind in [*((share, "uniform") for share in SHARES), (0.1, "confusable")]:
            rows.append(measured(data, share, kind, arguments.seeds))
            if arguments.out:
                arguments.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
