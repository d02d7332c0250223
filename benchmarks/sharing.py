"""One trunk for two tasks against a model for each: what each task gains or loses, by every balancing of the losses.

OMP_NUM_THREADS=1 python benchmarks/sharing.py DATA [--pairs parity brightness hands income] [--seeds 0 1 2]
    [--balancings uncertainty gradnorm equal] [--steps 300] [--out results.json]

DATA is a folder with `image/sign_digits`, `crossmodal/digit_pairs` and `tabular/adult_income`. Pairs of tasks:

- parity: which digit a hand shows, and whether it is even; the same photographs.
- brightness: which digit, and how bright the photograph is (regression); the same photographs, not augmented.
- hands: which digit, and whether other photographs of hands show less than five.
- income: of rows of a census whether someone earns more than 50,000, and the hours a week (regression); the network for
  tables, from random weights, 600 rows.

Equal for both sides of a seed: source, pictures, splits, steps, examples of a task in a step, the search for the rate.
The rows are of the test split; differences are paired on the same examples, intervals are of 95 %. `--time` prints
CPU-seconds of one thread to answer the test pictures: both Models on one trunk, and one after the other.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

import transfuse as tr
from transfuse.core.digests import of_many
from transfuse.core.nouns import Examples, Model, Task
from transfuse.core.runs import Run
from transfuse.predicting.predict import probabilities, probabilities_of_all, sharing_a_trunk


def main() -> None:
    """Print a line for each task of each training as it ends, then the means over the seeds."""
    arguments = _arguments()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for pair in arguments.pairs:
        for seed in arguments.seeds:
            with tempfile.TemporaryDirectory() as folder:  # own models are trained once for all balancings
                for balancing in arguments.balancings:
                    rows += _trained(pair, seed, balancing, arguments, Run(checkpoints=Path(folder)))
                    if arguments.out:
                        Path(arguments.out).write_text(json.dumps(rows, indent=1))
    _means(rows)


def _trained(pair: str, seed: int, balancing: str, arguments: argparse.Namespace, run: Run) -> list[dict[str, Any]]:
    source, tasks = PAIRS[pair](Path(arguments.data), seed)
    options = {"augmentation": "none"} if pair == "brightness" else {}
    started = time.process_time()
    models = tr.transfer(
        source, tasks, method="shared", balancing=balancing, steps=arguments.steps, seed=seed, run=run, **options
    )
    seconds = time.process_time() - started
    rows = []
    for row in next(iter(models.values())).report.rows:
        told = {"pair": pair, "seed": seed, "balancing": balancing, "trunks": len(sharing_a_trunk(models)), **row}
        rows.append(told)
        value, gap = row["value"], row.get("over its own model")
        line = f"{pair:<11}{balancing:<12}seed {seed}  {row['task']:<11}{row['model']:<14}{row['metric']:<9}"
        line += f"{value['value']:.4f} ({value['low']:.4f} to {value['high']:.4f}, n={value['n']})"
        if gap:
            line += f"  {gap['value']:+.4f} ({gap['low']:+.4f} to {gap['high']:+.4f})"
        print(f"{line}  kept: {row['kept']}", flush=True)
    weights = {name: model.provenance.options["found"].get("loss_weight") for name, model in models.items()}
    print(f"  {len(sharing_a_trunk(models))} trunk(s), {seconds:.0f} CPU-s, loss weights at last {weights}", flush=True)
    if arguments.time:
        _timed(models, tasks[0])
    return rows


def _timed(models: dict[str, Model], task: Task) -> None:
    """Least of five, turn and turn about."""
    items = task.splits["test"].items
    least = {"one trunk": float("inf"), "one after the other": float("inf")}
    for _ in range(5):
        started = time.process_time()
        probabilities_of_all(models, items)
        least["one trunk"] = min(least["one trunk"], time.process_time() - started)
        started = time.process_time()
        for model in models.values():
            probabilities(model, items)
        least["one after the other"] = min(least["one after the other"], time.process_time() - started)
    told = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in least.items())
    ratio = least["one trunk"] / least["one after the other"]
    print(f"  answers to {len(items)} test examples: {told}, ratio {ratio:.3f}", flush=True)


def _means(rows: Sequence[dict[str, Any]]) -> None:
    """Mean gain over seeds, with the spread (standard error) between them."""
    print("\nmean gain of the shared trunk over the task's own model (n = seeds, ± standard error)")
    shared = [row for row in rows if row["model"] in ("shared trunk", "shared by all")]
    for key in dict.fromkeys((row["pair"], row["balancing"], row["task"]) for row in shared):
        gains = [row["over its own model"]["value"] for row in shared if _key(row) == key]
        error = np.std(gains, ddof=1) / len(gains) ** 0.5 if len(gains) > 1 else float("nan")
        splits = sum(row["trunks"] > 1 for row in shared if _key(row) == key)
        print(
            f"{key[0]:<11}{key[1]:<12}{key[2]:<11}{np.mean(gains):+.4f} ± {error:.4f}  n={len(gains)}, split {splits}"
        )


def _key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["pair"], row["balancing"], row["task"]


def _digits(data: Path, seed: int) -> Task:
    return tr.task(data / "image/sign_digits", name="digit", seed=seed)


def _parity(data: Path, seed: int) -> tuple[str, list[Task]]:
    digit = _digits(data, seed)
    return "builtin", [digit, _relabelled(digit, "parity", ("even", "odd"), lambda label, _: int(label) % 2)]


def _brightness(data: Path, seed: int) -> tuple[str, list[Task]]:
    digit = _digits(data, seed)
    return "builtin", [digit, _relabelled(digit, "brightness", ("grey",), lambda _, path: [_mean_of(path)])]


def _mean_of(path: str | Path) -> float:
    return float(np.asarray(Image.open(path).convert("L")).mean())


def _hands(data: Path, seed: int) -> tuple[str, list[Task]]:
    other = tr.task(data / "crossmodal/digit_pairs", path_column="image", target="label", modality="image", seed=seed)
    few = _relabelled(other, "few", ("five or more", "less than five"), lambda label, _: int(int(label) < 5))
    return "builtin", [_digits(data, seed), few]


def _income(data: Path, seed: int) -> tuple[str, list[Task]]:
    folder = data / "tabular/adult_income"
    income = tr.task(folder, target="label", roles={"hours-per-week": "drop"}, name="income", seed=seed)
    hours = tr.task(
        folder, target="hours-per-week", roles={"label": "drop"}, name="hours", kind="regression", seed=seed
    )
    return "table:network", [income, hours]


def _relabelled(task: Task, name: str, classes: tuple[str, ...], target: Any) -> Task:
    """The same examples with another target, a function of the class's name and the example."""

    def changed(examples: Examples) -> Examples:
        found = [target(task.classes[y], item) for y, item in zip(examples.targets, examples.items, strict=True)]
        values = np.array(found)
        return replace(examples, targets=values.astype(np.float32 if values.ndim == 2 else np.int64))

    kind = "regression" if len(classes) == 1 else "single-label"
    splits = {split: changed(examples) for split, examples in task.splits.items()}
    return replace(
        task, name=name, kind=kind, classes=classes, splits=splits, digest=of_many([task.digest, name]), warnings=()
    )


PAIRS = {"parity": _parity, "brightness": _brightness, "hands": _hands, "income": _income}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--pairs", nargs="+", choices=PAIRS, default=list(PAIRS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--balancings", nargs="+", default=["uncertainty", "gradnorm", "equal"])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--time", action="store_true")
    parser.add_argument("--out")
    return parser.parse_args()


if __name__ == "__main__":
    main()
