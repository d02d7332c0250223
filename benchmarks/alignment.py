"""Two networks trained apart, averaged: the loss barrier between them as they are, aligned, and mended (REPAIR).

    python benchmarks/alignment.py [--data SIGNS] [--pairs 0 1 2] [--networks mlp resnet] [--out results.json]

Data: scikit-learn's digits, and with --data a folder of class folders with train/ and test/. Networks: a plain MLP of
512 units a layer, and timm's resnet10t, from random weights of seeds 2k and 2k + 1 for pair k, on the same training and
validation examples. Barriers are measured on the validation split, at eleven points, with a 95 % interval over examples
at the worst point; accuracies of the point half-way on the test split, which nothing else reads. "mended": statistics
of batch normalisation estimated anew, or layers renormalised, on training examples.
"""

import argparse
import json
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from nets.plain import mlp
from PIL import Image
from rich.console import Console
from rich.table import Table
from safetensors.torch import save_file
from sklearn.datasets import load_digits

import transfuse as tr
from transfuse.core.nouns import Model, Task
from transfuse.evaluating.assessing import assess
from transfuse.fusing.alignment import aligning
from transfuse.fusing.alignment.barrier import barrier
from transfuse.fusing.alignment.repairing import mended
from transfuse.reporting.values import cell
from transfuse.training.averaging import copied
from transfuse.training.losses import cross_entropy
from transfuse.tuning.sampling import judged_batches
from transfuse.weights.interpolating import interpolate

PLAIN = Path(__file__).parent / "nets" / "plain.py"
ALPHAS = tuple(step / 10 for step in range(11))
GREY = {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5), "range": 1.0}


def digits(folder: Path) -> Path:
    """scikit-learn's 1,797 digits as pictures: every third for testing."""
    pictures = load_digits()
    for i, (image, label) in enumerate(zip(pictures.images, pictures.target, strict=True)):
        file = folder / ("test" if i % 3 == 2 else "train") / str(label) / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * 15.9).astype("uint8")).save(file)
    return folder


def trained(network: str, task: Task, size: int, seed: int, steps: int) -> Model:
    """A network from random weights."""
    if network == "mlp":
        with tempfile.TemporaryDirectory() as folder:  # a source wants weights; `scratch` does not look at them
            save_file(mlp().state_dict(), f"{folder}/any.safetensors")
            source = tr.source(f"file:{folder}/any.safetensors@{PLAIN}:mlp", trust_code=True, size=16, **GREY)
            return tr.transfer(source, task, method="scratch", seed=seed, rate=2e-3, steps=steps, trust_code=True)
    source = tr.source("random:timm:resnet10t", size=size, **GREY)
    return tr.transfer(source, task, method="scratch", seed=seed, rate=2e-3, steps=steps)


def rows_of(name: str, network: str, task: Task, size: int, pair: int, steps: int) -> list[dict[str, Any]]:
    """Two networks, and what lies half-way between them, in every way."""
    started = time.monotonic()
    a, b = (trained(network, task, size, seed, steps) for seed in (2 * pair, 2 * pair + 1))
    seconds = time.monotonic() - started
    models = {"a": a, "b": b}
    rows = [_row(name, network, pair, "first network", a, task), _row(name, network, pair, "second network", b, task)]
    rows[0]["seconds"] = round(seconds, 1)
    for way in ("weights", "activations"):
        started = time.monotonic()
        done = aligning.aligned(models, way, task, alphas=(0.0, 0.5, 1.0))
        took = round(time.monotonic() - started, 1)
        others = {"as they are": copied(b.network)} if way == "weights" else {}
        for told, state in (*others.items(), (f"aligned by {way}", done.states["b"])):
            for mend in (False, True):
                row = _between(a, state, done, task, mend)
                rows.append({"data": name, "network": network, "pair": pair, "state": told + ", mended" * mend, **row})
        rows[-1]["seconds"] = took
    return rows


def _row(name: str, network: str, pair: int, told: str, model: Model, task: Task) -> dict[str, Any]:
    found = assess(model, task.splits["test"])
    return {"data": name, "network": network, "pair": pair, "state": told, "accuracy": found.measured("accuracy")}


def _between(a: Model, other: Any, done: Any, task: Task, mend: bool) -> dict[str, Any]:
    """Barrier on the line, and accuracy half-way."""
    first = copied(a.network)

    def mending(network: torch.nn.Module, alpha: float) -> None:
        mended(network, ((1 - alpha, first), (alpha, other)), done.symmetry, done.batches)

    judged = judged_batches(a, task)
    found = barrier(
        a.network, first, other, judged, loss=partial(cross_entropy), alphas=ALPHAS, mend=mending if mend else None
    )
    a.network.load_state_dict(interpolate(first, other, 0.5))
    if mend:
        mending(a.network, 0.5)
    measured = assess(a, task.splits["test"]).measured("accuracy")
    a.network.load_state_dict(first)
    told = {"value": found.value, "low": found.low, "high": found.high, "n": found.n}
    return {"barrier": told, "accuracy": measured}


def show(rows: list[dict[str, Any]]) -> None:
    """All rows as one table."""
    columns = ["data", "network", "pair", "state", "barrier", "accuracy", "seconds"]
    table = Table(*columns)
    for row in rows:
        table.add_row(*(cell(row.get(column), column) for column in columns))
    Console(width=160).print(table)


def main() -> None:
    """Run everything and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--pairs", type=int, nargs="+", default=[0])
    parser.add_argument("--networks", nargs="+", default=["mlp", "resnet"])
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--only", nargs="+", default=["digits", "data"])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as folder:
        tasks = {"digits": (tr.task(str(digits(Path(folder))), seed=0), 32)} if "digits" in arguments.only else {}
        if arguments.data and "data" in arguments.only:
            tasks[arguments.data.name] = (tr.task(str(arguments.data), seed=0), 48)
        for pair in arguments.pairs:
            for name, (task, size) in tasks.items():
                for network in arguments.networks:
                    rows += rows_of(name, network, task, size, pair, arguments.steps)
                    show(rows[-8:])
                    if arguments.out:
                        arguments.out.write_text(json.dumps(rows, indent=1))
    show(rows)


if __name__ == "__main__":
    main()
