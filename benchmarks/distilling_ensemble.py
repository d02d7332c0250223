"""Three sources as one ensemble, distilled into one network: how much of the ensemble's gain survives.

OMP_NUM_THREADS=1 python benchmarks/distilling_ensemble.py DATA WEIGHTS --out rows.jsonl [--seeds 0 1 2]
    [--method probe] [--student mobilenet] [--way kept]
python benchmarks/distilling_ensemble.py --table rows.jsonl

The three are those of `transfer.py`: built-in, ResNet-20 of CIFAR-10, ShuffleNet V2 of ImageNet, all transferred by
METHOD to the same training pictures. Their ensemble answers by the mean of their probabilities. The student is trained
alone, under the single teacher that validates best, and under the ensemble: equal pictures, steps, rate, batches,
augmentation and start. Share that survives: (distilled - alone) / (ensemble - alone), of mean accuracies over seeds,
with a bootstrap interval over the test pictures, which are the same in all seeds.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from distilling_summary import BOOTSTRAPS, in_points, t_interval
from transfer import IMAGENET, NETS, sources

import transfuse as tr
from distilling import ALONE, STUDENT, rows_of, timed
from transfuse.core.nouns import Model, Source, Task
from transfuse.evaluating.assessing import assess

ENSEMBLE, BEST, FROM_ENSEMBLE, FROM_BEST = "ensemble", "best single", "from the ensemble", "from the best single"


def main() -> None:
    """Train what is missing, or print the table."""
    given = _arguments()
    torch.set_num_threads(1)
    if given.table:
        _table(rows_of(given.table))
        return
    known = {row["seed"] for row in rows_of(given.out) if row["name"] == FROM_ENSEMBLE}
    for seed in given.seeds:
        if seed not in known:
            _seed(given, seed)


def _seed(given: argparse.Namespace, seed: int) -> None:
    task, student = tr.task(given.data, seed=seed), _student(given)
    made: dict[str, Model] = {}
    for name, source in sources(Path(given.weights)).items():
        model, seconds = timed(lambda source=source: tr.transfer(source, task, method=given.method, seed=seed))
        made[name] = model
        _record(given.out, name, seed, model, task, seconds)
    models = list(made.values())
    _record(given.out, ENSEMBLE, seed, models, task, 0.0)
    best = max(models, key=lambda model: _loss(model, task))
    _record(given.out, BEST, seed, best, task, 0.0)
    more: dict[str, Any] = {"seed": seed, "rate": given.rate, "steps": given.steps}
    alone = "scratch" if given.scratch or student.weights is None else "finetune"
    model, seconds = timed(lambda: tr.transfer(student, task, method=alone, **more))
    _record(given.out, ALONE, seed, model, task, seconds)
    more |= {"compare": False, "scratch": given.scratch, "views": 8 if given.way == "kept" else 0}
    for name, teacher in ((FROM_BEST, best), (FROM_ENSEMBLE, models)):
        model, seconds = timed(lambda teacher=teacher: tr.distill(teacher, student, task, **more))
        _record(given.out, name, seed, model, task, seconds)


def _loss(model: Model, task: Task) -> float:
    """Less is better; turned, so that the largest is the best."""
    return -float(assess(model, task.splits["valid"]).measured("log_loss")["value"])


def _student(given: argparse.Namespace) -> Source:
    if given.student == "mobilenet":
        return tr.source(STUDENT, size=64)
    resnet = f"file:{given.weights}/cifar10_resnet/resnet20-12fca82f.th@{NETS}/resnet_cifar.py:resnet20"
    given.scratch = True
    return tr.source(resnet, trust_code=True, size=32, **IMAGENET)


def _record(out: Path, name: str, seed: int, model: Model | Sequence[Model], task: Task, seconds: float) -> None:
    models = [model] if isinstance(model, Model) else model
    test = task.splits["test"]
    p_NC = np.mean([assess(one, test).outputs_NC for one in models], axis=0)
    right_N = p_NC.argmax(1) == test.targets
    count = sum(p.numel() for one in models for p in one.network.parameters())
    told = " + ".join(one.name for one in models)
    row = {"name": name, "seed": seed, "seconds": round(seconds, 1), "parameters": count, "model": told}
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a") as file:
        file.write(json.dumps({**row, "right": "".join(str(int(hit)) for hit in right_N)}) + "\n")
    print(f"{name:<22} seed {seed}  {right_N.mean():.4f}, {seconds:.0f} CPU-s, {count:,} parameters", flush=True)


def _table(rows: Sequence[dict[str, Any]]) -> None:
    names = list(dict.fromkeys(row["name"] for row in rows))
    seeds = sorted({row["seed"] for row in rows if row["name"] == FROM_ENSEMBLE})
    right = {
        name: np.array([_right(row) for row in rows if row["name"] == name and row["seed"] in seeds]) for name in names
    }
    for name, right_SN in right.items():
        values = right_SN.mean(1)
        low, high = t_interval(values)
        told = f"{name:<22} {values.mean():.4f} (t-interval {low:.4f} to {high:.4f}); each"
        gap = "" if name == ALONE else f"  less alone {in_points(100 * (values - right[ALONE].mean(1)))}"
        print(f"{told} {', '.join(f'{v:.4f}' for v in values)}{gap}")
    print(f"{len(seeds)} seeds of n = {right[ALONE].shape[1]}")
    print(f"from the ensemble less from the best: {in_points(100 * _gap(right, FROM_ENSEMBLE, FROM_BEST))}")
    for told, given, top in (
        ("share of the ensemble's gain that survives", FROM_ENSEMBLE, ENSEMBLE),
        ("share of the best single's gain that survives", FROM_BEST, BEST),
        ("share of the ensemble's gain under the best single", FROM_BEST, ENSEMBLE),
    ):
        print(f"{told}: {_share(right, given, top)}")


def _gap(right: dict[str, np.ndarray], a: str, b: str) -> np.ndarray:
    found: np.ndarray = right[a].mean(1) - right[b].mean(1)
    return found


def _share(right: dict[str, np.ndarray], given: str, top: str) -> str:
    """(given - alone) / (top - alone), means over seeds; examples drawn anew, the same ones in every seed."""
    gained_N = (right[given] - right[ALONE]).mean(0)
    whole_N = (right[top] - right[ALONE]).mean(0)
    picks_KN = np.random.default_rng(0).integers(0, len(whole_N), (BOOTSTRAPS, len(whole_N)))
    shares_K = gained_N[picks_KN].mean(1) / whole_N[picks_KN].mean(1)
    low, high = np.percentile(shares_K, (2.5, 97.5))
    return f"{gained_N.mean() / whole_N.mean():.2f} ({low:.2f} to {high:.2f})"


def _right(row: dict[str, Any]) -> np.ndarray:
    return np.array([int(hit) for hit in row["right"]], float)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?")
    parser.add_argument("weights", nargs="?", type=Path)
    parser.add_argument("--out", type=Path, default=Path("ensemble.jsonl"))
    parser.add_argument("--table", type=Path)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--method", default="probe")
    parser.add_argument("--student", default="mobilenet", choices=("mobilenet", "resnet"))
    parser.add_argument("--scratch", action="store_true")
    parser.add_argument("--way", default="kept", choices=("kept", "live"))
    parser.add_argument("--rate", type=float, default=0.01)
    parser.add_argument("--steps", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
