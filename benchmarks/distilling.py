"""A fine-tuned teacher into a student of a quarter of its size: the student alone, asked live, and with kept answers.

OMP_NUM_THREADS=1 python benchmarks/distilling.py DATA --out rows.jsonl [--seeds 0 1 2 3 4] [--methods kd ...]
    [--ways kept live] [--student REFERENCE] [--views 8] [--steps 0] [--rate 0] [--teacher-rate 0]

DATA is a folder of class folders with train/ and test/, of pictures or of sounds, which are seen as log-mel pictures.
The teacher is the built-in source, fine-tuned on the same training examples; the student starts from random weights.
Equal for all rows of a seed: examples, splits, steps, batch size, augmentation, the rate or how it is searched. Every
figure has n and a 95 % interval; differences are paired on the same test examples. A row is written as soon as it is
known, and what FILE holds already is not trained again; `distilling_summary.py` reads it. A row holds the validation
score too, by which methods are chosen, and which test examples were right.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

import transfuse as tr
from transfuse.core.nouns import Model, Task
from transfuse.distilling.sums import parsed
from transfuse.distilling.terms import INNER, POOLED, needs
from transfuse.evaluating.assessing import assess

TEACHER, ALONE = "teacher", "student alone"
STUDENT = "random:timm:mobilenetv3_small_050"
SIZE = 64


def main() -> None:
    """Print a line for each training as it ends."""
    given = _arguments()
    torch.set_num_threads(1)
    for seed in given.seeds:
        _seed(given, seed)


def _seed(given: argparse.Namespace, seed: int) -> None:
    known = {row["name"] for row in rows_of(given.out) if row["seed"] == seed}
    ways = {name: make for name, make in _trainings(given, seed) if name not in known}
    if not ways:
        return
    task = tr.task(given.data, seed=seed)
    teacher, seconds = _teacher(given, task, seed)
    if TEACHER not in known:
        _record(given.out, TEACHER, seed, teacher, task, seconds)
    for name, make in ways.items():
        model, seconds = timed(lambda make=make: make(teacher, task))
        _record(given.out, name, seed, model, task, seconds)


def _trainings(given: argparse.Namespace, seed: int) -> Iterator[tuple[str, Callable[[Model, Task], Model]]]:
    """Names of rows, and what makes the model of each from a teacher and a task."""
    student, more = tr.source(given.student, size=SIZE), {"seed": seed, "steps": given.steps, "rate": given.rate}
    tail = f" [{given.label}]" if given.label else ""
    yield ALONE + tail, lambda teacher, task: _alone(student, task, more)
    for method in given.methods:
        live_only = needs(parsed(method)) & (INNER | POOLED)
        for way in ["live"] if live_only else given.ways:
            views = given.views if way == "kept" else 0
            yield (
                f"{method}, {way}{tail}",
                lambda teacher, task, method=method, views=views: tr.distill(
                    teacher, student, task, method=method, views=views, compare=False, **more
                ),
            )


def _alone(student: Any, task: Task, more: dict[str, Any]) -> Model:
    method = "scratch" if student.weights is None else "finetune"
    return tr.transfer(student, task, method=method, **more)


def _teacher(given: argparse.Namespace, task: Task, seed: int) -> tuple[Model, float]:
    """Trained once for each seed, and kept beside the rows."""
    folder = given.out.parent / f"{given.out.stem}-teachers" / str(seed)
    if (folder / "model.json").is_file():
        return tr.load(folder), 0.0
    teacher, seconds = timed(
        lambda: tr.transfer("builtin", task, method="finetune", seed=seed, rate=given.teacher_rate)
    )
    teacher.save(folder)
    return teacher, seconds


def _record(out: Path, name: str, seed: int, model: Model, task: Task, seconds: float) -> None:
    found, facts = assess(model, task.splits["test"]), model.provenance.options["found"]
    accuracy = dict(found.measured("accuracy"))
    row = {
        "name": name,
        "seed": seed,
        "accuracy": accuracy,
        "validation": facts["validation"],
        "parameters": sum(p.numel() for p in model.network.parameters()),
        "steps": facts["steps"],
        "rate": facts["rate"],
        "trials": [(trial["rate"], round(trial["loss"], 3)) for trial in facts["rate_search"]],
        "seconds": round(seconds, 1),
        "right": "".join(str(int(hit)) for hit in found.outputs_NC.argmax(1) == found.targets),
    }
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a") as file:
        file.write(json.dumps(row) + "\n")
    interval = f"{accuracy['low']:.4f}-{accuracy['high']:.4f}, n={accuracy['n']:.0f}"
    print(
        f"{name:<24} seed {seed}  {accuracy['value']:.4f} ({interval}), validation {facts['validation']['score']:.4f}"
        f"  {row['steps']} steps at {row['rate']:g}, {seconds:.0f} CPU-s, {row['parameters']:,} parameters",
        flush=True,
    )


def rows_of(path: Path) -> list[dict[str, Any]]:
    """What was measured so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def timed(work: Callable[[], Any]) -> tuple[Any, float]:
    """What the work gives, and its CPU-seconds."""
    started = time.process_time()
    found = work()
    return found, time.process_time() - started


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--methods", nargs="*", default=["kd"])
    parser.add_argument("--ways", nargs="+", default=["kept", "live"], choices=("kept", "live"))
    parser.add_argument("--student", default=STUDENT)
    parser.add_argument("--views", type=int, default=8)
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--rate", type=float, default=0.0, help="of the students; 0: searched by each")
    parser.add_argument("--teacher-rate", type=float, default=0.0, help="0: searched")
    parser.add_argument("--label", default="", help="what tells rows of another student or length from the others")
    return parser.parse_args()


if __name__ == "__main__":
    main()
