"""What transfer buys on real photographs: each source by probe, fine-tuning and from scratch, on one test split.

    python benchmarks/transfer.py DATA --weights WEIGHTS [--seeds 0 1 2] [--out results.json]

DATA is a folder of class folders with train/ and test/. WEIGHTS holds `cifar10_resnet/resnet20-12fca82f.th` and
`imagenet_shufflenetv2_backbone/shufflenetv2.pth`; the two networks are described in `benchmarks/nets/`. Equal for all:
pictures, splits, steps, batch size, augmentation, search of the learning rate. Every figure has n and a 95 % interval;
differences are paired on the same test pictures.
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import transfuse as tr
from transfuse.core.nouns import Model, Source, Task
from transfuse.evaluating.assessing import Assessment, assess
from transfuse.evaluating.compare import difference
from transfuse.reporting.values import cell

NETS = Path(__file__).parent / "nets"
IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
METHODS = ("probe", "finetune", "scratch")


def sources(weights: Path) -> dict[str, Source]:
    """The three sources, each with the preprocessing that its makers give, at the size that it was trained on."""
    resnet = f"file:{weights}/cifar10_resnet/resnet20-12fca82f.th@{NETS}/resnet_cifar.py:resnet20"
    shuffle = f"file:{weights}/imagenet_shufflenetv2_backbone/shufflenetv2.pth@{NETS}/shufflenet.py:backbone"
    return {
        "built-in": tr.source("builtin"),
        "ResNet-20 CIFAR-10": tr.source(resnet, trust_code=True, size=32, **IMAGENET),
        "ShuffleNet ImageNet": tr.source(shuffle, trust_code=True, size=96, mean=(0, 0, 0), std=(1, 1, 1), range=1.0),
    }


def measured(source: Source, task: Task, method: str, seed: int) -> tuple[Model, Assessment, float]:
    """A transferred model, its answers on the test split, and the seconds that making it took."""
    started = time.monotonic()
    model = tr.transfer(source, task, method=method, seed=seed)
    seconds = time.monotonic() - started
    return model, assess(model, task.splits["test"]), seconds


def rows_of(name: str, source: Source, task: Task, seed: int) -> list[dict[str, Any]]:
    """One row a method, with the paired difference to scratch."""
    made = {method: measured(source, task, method, seed) for method in METHODS}
    scratch = made["scratch"][1]
    return [
        {
            "source": name,
            "method": method,
            "seed": seed,
            "accuracy": assessment.measured("accuracy"),
            "against scratch": None if method == "scratch" else difference(assessment, scratch),
            "log loss": assessment.measured("log_loss"),
            "calibration error": assessment.measured("calibration_error"),
            "seconds": round(seconds, 1),
            "parameters": sum(parameter.numel() for parameter in model.network.parameters()),
        }
        for method, (model, assessment, seconds) in made.items()
    ]


def show(rows: list[dict[str, Any]]) -> None:
    """All rows as one table."""
    columns = list(rows[0])
    table = Table(*columns)
    for row in rows:
        table.add_row(*(cell(row[column], column) for column in columns))
    Console(width=200).print(table)


def main() -> None:
    """Run everything and print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for seed in arguments.seeds:
        task = tr.task(str(arguments.data), seed=seed)
        for name, source in sources(arguments.weights).items():
            rows += rows_of(name, source, task, seed)
            show(rows)
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
