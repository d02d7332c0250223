"""A fine-tuned teacher into a student of a quarter of its size: the student alone, asked live, and with kept answers.

OMP_NUM_THREADS=1 python benchmarks/distilling.py DATA [--seeds 0 1 2] [--methods kd] [--cost] [--out results.json]

DATA is a folder of class folders with train/ and test/. The teacher is the built-in source, fine-tuned on the same
training pictures; the student starts from random weights. Equal for all rows of a seed: pictures, splits, steps, batch
size, augmentation, the way the rate is searched. Every figure has n and a 95 % interval; differences are paired on the
same test pictures. `--cost` prints CPU-seconds of one thread for passes over the training pictures at a given rate: the
teacher's answers are computed before the clock starts for `kept`, and `first pass` tells what computing them took.
"""

import argparse
import json
import math
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import transfuse as tr
from transfuse.core.nouns import Model
from transfuse.core.runs import Run
from transfuse.distilling import students
from transfuse.distilling.sums import parsed
from transfuse.distilling.teachers import opened_teacher
from transfuse.evaluating.assessing import Assessment, assess
from transfuse.evaluating.compare import difference
from transfuse.training.options import Fit

STUDENT = "random:timm:mobilenetv3_small_050"
SIZE = 64


def main() -> None:
    """Print a line for each training as it ends."""
    arguments = _arguments()
    torch.set_num_threads(1)
    if arguments.cost:
        _cost(arguments.data, arguments.passes)
        return
    rows = [row for seed in arguments.seeds for row in _of_seed(arguments.data, seed, arguments.methods)]
    if arguments.out:
        Path(arguments.out).write_text(json.dumps(rows, indent=1))


def _of_seed(data: str, seed: int, methods: list[str]) -> list[dict[str, Any]]:
    task, student = tr.task(data, seed=seed), tr.source(STUDENT, size=SIZE)
    test = task.splits["test"]
    rows: list[dict[str, Any]] = []
    teacher, seconds = _timed(lambda: tr.transfer("builtin", task, method="finetune", seed=seed))
    rows.append(_row("teacher", seed, teacher, assess(teacher, test), None, seconds))
    model, seconds = _timed(lambda: tr.transfer(student, task, method="scratch", seed=seed))
    alone = assess(model, test)
    rows.append(_row("student alone", seed, model, alone, None, seconds))
    for method in methods:
        for name, views in ((f"{method}, kept", 8), (f"{method}, live", 0)):
            model, seconds = _timed(
                lambda method=method, views=views: tr.distill(
                    teacher, student, task, method=method, views=views, compare=False, seed=seed
                )
            )
            rows.append(_row(name, seed, model, assess(model, test), alone, seconds))
    return rows


def _row(
    name: str, seed: int, model: Model, found: Assessment, alone: Assessment | None, seconds: float
) -> dict[str, Any]:
    accuracy = found.measured("accuracy")
    gap = difference(found, alone) if alone else None
    facts = model.provenance.options["found"]
    row = {
        "name": name,
        "seed": seed,
        "accuracy": dict(accuracy),
        "against alone": gap,
        "parameters": sum(p.numel() for p in model.network.parameters()),
        "steps": facts["steps"],
        "rate": facts["rate"],
        "seconds": round(seconds, 1),
    }
    interval = f"{accuracy['low']:.4f}-{accuracy['high']:.4f}, n={accuracy['n']}"
    told = f"{name:<16} seed {seed}  {accuracy['value']:.4f} ({interval})"
    if gap:
        told += f"  {100 * gap['value']:+.2f} points ({100 * gap['low']:+.2f} to {100 * gap['high']:+.2f})"
    print(
        f"{told}  {row['steps']} steps at {row['rate']:g}, {seconds:.0f} CPU-s, {row['parameters']:,} parameters",
        flush=True,
    )
    return row


def _timed(work: Any) -> tuple[Any, float]:
    started = time.process_time()
    found = work()
    return found, time.process_time() - started


def _cost(data: str, passes: int) -> None:
    """Passes of each way, one after the other, three times; the least of each."""
    task, student = tr.task(data), tr.source(STUDENT, size=SIZE)
    teacher = opened_teacher(tr.transfer("builtin", task, method="probe"), task)
    count = len(task.splits["train"])
    steps = math.ceil(passes * count / 32)
    fit = Fit(steps=steps, rate=1e-3, patience=0, validate_every=steps)
    kept = students.Plan(
        student=student, task=task, teacher=teacher, wanted=parsed("kd"), fit=fit, views=8, taps={}, scratch=False
    )
    _, first = _timed(lambda: students.distilled(kept, Run()))
    ways = {
        "alone": lambda: students.alone(kept, steps, Run()),
        "kept": lambda: students.distilled(kept, Run()),
        "live": lambda: students.distilled(replace(kept, views=0), Run()),
    }
    least = dict.fromkeys(ways, math.inf)
    for _ in range(3):
        for name, work in ways.items():
            least[name] = min(least[name], _timed(work)[1])
    print(f"{passes} passes over {count} pictures of {SIZE} px, {steps} steps, CPU-seconds, least of three")
    for name, seconds in least.items():
        print(f"{name:<8}{seconds:>8.2f}{seconds / least['alone']:>8.3f}x of the student alone")
    print(f"first pass: {first - least['kept']:.2f} s for {min(8, passes)} views")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=["kd"])
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--passes", type=int, default=4)
    parser.add_argument("--out")
    return parser.parse_args()


if __name__ == "__main__":
    main()
