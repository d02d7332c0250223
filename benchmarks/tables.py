"""Tables: an earlier population's model on a new one, and boosted trees against scikit-learn's.

    python benchmarks/tables.py transfer FOLDER --target label    # source.csv, train.csv, test.csv
    python benchmarks/tables.py alone FOLDER --target strength    # train.csv, test.csv
    python benchmarks/tables.py unlabelled FOLDER --target label  # source.csv, of which the labels are not read

Equal for both sides: the rows of train.csv to learn from (both take a part of them for early stopping), the rows of
test.csv, read once, at the end; one thread. scikit-learn gets what its users write: one-hot columns and scaled numbers
for logistic or ridge regression, ordinal columns for HistGradientBoosting with early stopping.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegressionCV, RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

import transfuse as tr
from transfuse.core.nouns import Model, Task
from transfuse.measuring.intervals import interval, paired
from transfuse.predicting.predict import probabilities

Answers = dict[str, np.ndarray]


def main() -> None:
    """Run one of them and print a table; with --out, write it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("transfer", "alone", "unlabelled"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--target", required=True)
    parser.add_argument("--budget", default="3m")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    task = tr.task(given.folder, modality="table", target=given.target, seed=given.seed)
    answers: Answers = {}
    if given.what == "transfer":
        answers |= transferred(given.folder, task, given)
    elif given.what == "unlabelled":
        answers |= pretrained(given.folder, task, given.seed)
    else:
        answers |= fitted(task, given, None, "")
    if given.what != "unlabelled":
        answers |= peers(given.folder, given.target, task, given.what == "transfer", given.seed)
    show(answers, task, given)


def fitted(task: Task, given: Any, sources: list[str] | None, mark: str) -> Answers:
    """What `fit` gives."""
    started = time.monotonic()
    model = tr.fit(task, sources=sources, budget=given.budget, seed=given.seed)
    print(f"fit{mark}: {time.monotonic() - started:.0f} s", *model.report.summary, sep="\n  ")
    return {f"transfuse fit{mark}: {model.provenance.method}": answered(model, task)}


def transferred(folder: Path, task: Task, given: Any) -> Answers:
    """Target alone, source alone, source then target: each by trees and by the network, then what `fit` makes of it."""
    source = tr.task(folder / "source.csv", modality="table", target=given.target, test=0, seed=given.seed)
    found: Answers = {}
    with tempfile.TemporaryDirectory() as scratch:
        sources = []
        for reference, method in (("table:columns", "probe"), ("table:columns", "trees"), ("table:network", "scratch")):
            options = {"steps": 1500, "batch_size": 128} if method == "scratch" else {}
            name = {"probe": "linear", "trees": "trees", "scratch": "network"}[method]
            before = tr.transfer(reference, source, method=method, name=f"source {name}", seed=given.seed, **options)
            found[f"source only: {name}"] = answered(before, task)
            sources.append(str(before.save(Path(scratch) / name)))
            alone = tr.transfer(reference, task, method=method, seed=given.seed)
            found[f"target only: {name}"] = answered(alone, task)
        for reference, method, name in (
            (sources[0], "probe", "linear"),
            (sources[1], "trees", "trees"),
            (sources[2], "finetune", "network"),
            (sources[2], "trees", "trees on the network"),
        ):
            found[f"source, then target: {name}"] = answered(
                tr.transfer(reference, task, method=method, seed=given.seed), task
            )
        found |= fitted(task, given, None, " (target only)")
        found |= fitted(task, given, sources, " (with sources)")
    return found


def pretrained(folder: Path, task: Task, seed: int) -> Answers:
    """The network from scratch, and after learning from rows without labels, at one rate; the paired difference."""
    source = str(folder / "source.csv")
    ways: dict[str, dict[str, Any]] = {
        "scratch": {"method": "scratch"},
        "pretrained on its own rows": {"method": "pretrained"},
        "pretrained with the source's rows": {"method": "pretrained", "unlabelled": source},
    }
    found = {}
    for name, options in ways.items():
        started = time.monotonic()
        found[name] = answered(tr.transfer("table:network", task, rate=1e-3, seed=seed, **options), task)
        metric = "r2" if task.kind == "regression" else "auc"
        gap = paired(task.kind, metric, task.splits["test"].targets, found[name], found["scratch"])
        told = " ".join(f"{gap[key]:+.4f}" for key in ("value", "low", "high"))
        print(f"{name}: {time.monotonic() - started:.0f} s, {metric} against scratch {told}", flush=True)
    return found


def answered(model: Model, task: Task) -> np.ndarray:
    """Answers for the test split."""
    return probabilities(model, task.splits["test"].items)


def peers(folder: Path, target: str, task: Task, shifted: bool, seed: int) -> Answers:
    """Plain scikit-learn, on the target's rows, and where there is a source on its rows and on both."""
    frames = {"target only": pd.read_csv(folder / "train.csv")}
    if shifted:
        frames["source only"] = pd.read_csv(folder / "source.csv")
        frames["both, pooled"] = pd.concat(frames.values())
    test = pd.read_csv(folder / "test.csv").drop(columns=target)
    makers: dict[str, Callable[[], Any]] = {
        "linear": lambda: linear(task.kind),
        "HistGradientBoosting": lambda: boosting(task.kind, seed),
    }
    found: Answers = {}
    for rows, frame in frames.items():
        for name, make in makers.items():
            model = make().fit(frame.drop(columns=target), frame[target])
            answers = model.predict(test)[:, None] if task.kind == "regression" else model.predict_proba(test)
            found[f"scikit-learn, {rows}: {name}"] = answers
    return found


def linear(kind: str) -> Any:
    """One-hot columns and scaled numbers, the strength by cross-validation."""
    columns = make_column_transformer(
        (make_pipeline(SimpleImputer(), StandardScaler()), make_column_selector(dtype_include="number")),
        (OneHotEncoder(handle_unknown="ignore"), make_column_selector(dtype_exclude="number")),
    )
    strengths = np.logspace(-3, 3, 13)
    head = (
        RidgeCV(strengths)
        if kind == "regression"
        else LogisticRegressionCV(
            Cs=strengths, max_iter=2000, scoring="neg_log_loss", l1_ratios=(0.0,), use_legacy_attributes=False
        )
    )
    return make_pipeline(columns, head)


def boosting(kind: str, seed: int) -> Any:
    """As its documentation has it, with early stopping."""
    columns = make_column_transformer(
        (
            OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, encoded_missing_value=np.nan),
            make_column_selector(dtype_exclude="number"),
        ),
        remainder="passthrough",
    )
    kinds = {"regression": HistGradientBoostingRegressor, "single-label": HistGradientBoostingClassifier}
    return make_pipeline(
        columns, kinds[kind](early_stopping=True, max_iter=1000, learning_rate=0.05, random_state=seed)
    )


def show(answers: Answers, task: Task, given: Any) -> None:
    """Every metric with n and interval, and the paired difference to the best that knows the target alone."""
    metrics = ("r2", "rmse") if task.kind == "regression" else ("auc", "accuracy")
    test = task.splits["test"]
    rows = []
    for name, answer in answers.items():
        row: dict[str, Any] = {"model": name, "n": len(test)}
        for metric in metrics:
            row[metric] = interval(task.kind, metric, test.targets, answer, groups=test.groups)
        base = answers.get("target only: trees")
        if base is not None:
            row["against target only: trees"] = paired(task.kind, metrics[0], test.targets, answer, base)
        rows.append(row)
    for row in sorted(rows, key=lambda row: -row[metrics[0]]["value"]):
        told = " ".join(
            f"{key} {m['value']:+.3f} ({m['low']:+.3f} to {m['high']:+.3f})"
            for key, m in row.items()
            if isinstance(m, dict)
        )
        print(f"{row['model']:45} n={row['n']} {told}")
    if given.out:
        given.out.write_text(json.dumps({"rows": rows, "seed": given.seed}, indent=1))


if __name__ == "__main__":
    main()
