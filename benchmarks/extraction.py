"""Throughput of cached feature extraction against the bare network over batches that are already in memory.

    python benchmarks/extraction.py DATA [--count 512] [--repeats 5] [--precision auto]

DATA is whatever `transfuse` takes as labelled pictures. Both sides run the same network with the same random weights,
the same batch size and threads, in turn, in one process. The bare side sees normalised float32 batches in memory: it
neither reads, decodes nor writes. The ratio is that of medians; its interval is the range over the repeats' pairs.
Two bare sides are measured: plain PyTorch (float32, usual layout), and the same layout and precision as extraction.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from transfuse.core.nouns import Examples, Source, Task
from transfuse.sources.extraction import BATCH, features
from transfuse.sources.images.preprocessing import normalise
from transfuse.sources.opening import open_source
from transfuse.sources.precision import chosen_precision, device_of
from transfuse.sources.references import find
from transfuse.tasks.images.loading import batches
from transfuse.tasks.images.opening import open_images

NETWORKS = (
    ("random:timm:resnet18", 224),
    ("random:timm:mobilenetv3_small_100", 224),
    ("random:timm:mobilenetv3_small_100", 96),
    ("random:timm:test_resnet", 64),
)


def main() -> None:
    """Print one row for each network."""
    arguments = _arguments()
    task = open_images(arguments.data)
    print(f"{torch.get_num_threads()} threads, precision {chosen_precision(arguments.precision, device_of('auto'))}")
    print(
        f"{'network':<34}{'pixels':>7}{'n':>6}{'plain/s':>9}{'bare/s':>9}{'ours/s':>9}  ours/bare (range)   ours/plain"
    )
    for reference, size in NETWORKS:
        source = find(reference, size=size)
        examples = _first(task, arguments.count)
        rows = [_once(source, examples, arguments.precision) for _ in range(arguments.repeats)]
        _show(source, size, len(examples.splits["train"]), rows)


def _once(source: Source, task: Task, precision: str) -> tuple[float, float, float]:
    """Pictures a second: plain network, network as prepared for extraction, extraction."""
    opened = open_source(source)
    items = task.splits["train"].items
    pictures = [normalise(b, source.preprocessing) for b in batches(items, source.preprocessing, BATCH)]
    plain = [x.contiguous() for x in pictures]
    lower = chosen_precision(precision, device_of("auto")) != "float32"
    count = len(items)

    def bare(xs: list[torch.Tensor], reduced: bool) -> None:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=reduced):
            for x in xs:
                opened.body(x)

    opened.body.to(memory_format=torch.contiguous_format)
    slow = _rate(count, lambda: bare(plain, False))
    opened.body.to(memory_format=torch.channels_last)
    fast = _rate(count, lambda: bare(pictures, lower))
    ours = _rate(count, lambda: features(opened, task, "train", precision=precision, cache=False))
    return slow, fast, ours


def _rate(count: int, work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return count / (time.perf_counter() - begin)


def _first(task: Task, count: int) -> Task:
    examples = task.splits["train"]
    part = Examples(
        items=list(examples.items)[:count],
        targets=np.asarray(examples.targets)[:count],
        digests=examples.digests[:count],
        names=examples.names[:count],
    )
    return Task(
        name=task.name, kind=task.kind, classes=task.classes, splits={"train": part}, seed=0, digest=task.digest
    )


def _show(source: Source, size: int, count: int, rows: list[tuple[float, float, float]]) -> None:
    slow, fast, ours = (statistics.median(row[side] for row in rows) for side in range(3))
    ratios = sorted(row[2] / row[1] for row in rows)
    print(
        f"{source.name:<34}{size:>7}{count:>6}{slow:>9.0f}{fast:>9.0f}{ours:>9.0f}"
        f"  {statistics.median(ratios):.3f} ({ratios[0]:.3f}-{ratios[-1]:.3f})   {ours / slow:.2f}"
    )


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="labelled pictures: a folder, a table or arrays")
    parser.add_argument("--count", type=int, default=512, help="pictures (default 512)")
    parser.add_argument("--repeats", type=int, default=5, help="pairs of measurements (default 5)")
    parser.add_argument("--precision", default="auto", choices=("auto", "float32", "bfloat16", "fast"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
