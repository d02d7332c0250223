"""Does a labelled source population help? MNIST for UCI's optical digits, few to many target labels.

    python benchmarks/domain_shift.py PAIR [--labels 2 5 20 60] [--out results.json]

PAIR is a folder with source/ and target/, each with train/ and test/ of class folders. For each number of target labels
a class (as many again, at most 16, validate), `fit --source-data` without fine-tuning makes every candidate on frozen
features of the network inside the package: the target alone, pooled, importance-weighted, CORAL, the source alone;
each on the pictures as they are and cropped to the ink. Read off on the whole target test split: accuracy with its
95 % interval, and the paired difference to the target alone on the same preparation. Equal for all: features, test
pictures, the search for the head's strength. The target examples of a smaller number are among those of a larger one.
"""

import argparse
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

import transfuse as tr
from transfuse.core.digests import of_many
from transfuse.core.nouns import Examples, Task
from transfuse.tasks.joining import taken

MOST_VALID = 16
Row = dict[str, Any]


def first_of_each(examples: Examples, count: int, seed: int) -> Examples:
    """At most `count` examples of each class, in a seeded order."""
    order = np.random.default_rng(seed).permutation(len(examples))
    kept = [order[examples.targets[order] == label][:count] for label in np.unique(examples.targets)]
    return taken(examples, np.sort(np.concatenate(kept)))


def few(task: Task, count: int, seed: int) -> Task:
    """The task with `count` training examples a class."""
    splits = {
        "train": first_of_each(task.splits["train"], count, seed),
        "valid": first_of_each(task.splits["valid"], min(count, MOST_VALID), seed),
        "test": task.splits["test"],
    }
    return replace(task, splits=splits, digest=of_many([task.digest, str(count), str(seed)]))


def rows_of(task: Task, population: Task, count: int, budget: str) -> list[Row]:
    """One row a candidate."""
    model = tr.fit(few(task, count, 0), sources=["builtin"], source_data=population, finetune=False, budget=budget)
    assert model.report is not None
    found = []
    for row in model.report.rows:
        own = re.compile(rf"(help|examples)\. (No difference between )?{re.escape(row['model'])} (is|and) ")
        said = next((s for s in model.report.summary if own.search(s)), "")
        gap = re.search(r"([+-][\d.]+) points of accuracy \(95 % interval ([+-][\d.]+) to ([+-][\d.]+)", said)
        found.append(
            {
                "labels a class": count,
                "model": row["model"],
                "accuracy": row["accuracy"],
                "to target alone": [float(part) / 100 for part in gap.groups()] if gap else None,
                "chosen": row["chosen"],
            }
        )
    notes = [place for w in model.report.warnings if w.code == "drift" for place in w.places]
    return [*found, {"labels a class": count, "drift": notes}]


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pair", type=Path)
    parser.add_argument("--labels", type=int, nargs="+", default=[2, 5, 20, 60])
    parser.add_argument("--budget", default="30m")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    task, population = tr.task(options.pair / "target"), tr.task(options.pair / "source")
    rows: list[Row] = []
    for count in options.labels:
        rows += rows_of(task, population, count, options.budget)
        if options.out:
            options.out.write_text(json.dumps(rows, indent=1))
    show([row for row in rows if "model" in row])


def show(rows: list[Row]) -> None:
    """The table."""
    table = Table("labels a class", "model", "accuracy", "to target alone", "chosen")
    for row in rows:
        value, gap = row["accuracy"], row["to target alone"]
        told = f"{value['value']:.3f} ({value['low']:.3f} to {value['high']:.3f}), n = {value['n']:.0f}"
        apart = "" if gap is None else f"{gap[0]:+.3f} ({gap[1]:+.3f} to {gap[2]:+.3f})"
        table.add_row(str(row["labels a class"]), row["model"], told, apart, "yes" if row["chosen"] else "")
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
