"""A frozen prefix run once, and only the rest trained, against fine-tuning the whole network.

    OMP_NUM_THREADS=1 python benchmarks/last_stages.py DATA [--pictures 64] [--epochs 20] [--views 4] [--accuracy REF]

CPU-seconds of one process, the same training loop, optimiser, batches and precision on both sides; the pictures of the
whole network lie decoded in memory, so that its side pays no decoding after the first pass. `an epoch` compares passes
over the training pictures; `all epochs` counts the extraction of the augmented views on the cached side.
`outputs` is the largest difference between the whole network and its prefix and rest one after the other.
`--accuracy` fine-tunes sources that know something both ways and prints what each reaches on the test split.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch

import transfuse as tr
from transfuse.core.nouns import Examples, Features, Task
from transfuse.core.runs import Run
from transfuse.sources.extraction import features
from transfuse.sources.network import Network, new_head
from transfuse.sources.opening import Opened, open_source
from transfuse.sources.staging import split_at
from transfuse.tasks.images.augmenting import LIGHT
from transfuse.training.batches import Activations
from transfuse.training.loop import train
from transfuse.training.options import Fit
from transfuse.tuning.moving import layerwise
from transfuse.tuning.tune import Workbench, workbench

NETWORKS = (("resnet18", "layer3"), ("vit_tiny_patch16_224", "blocks.9"))


def main() -> None:
    """Print a row for each network, then accuracies if asked."""
    arguments = _arguments()
    task = tr.task(arguments.data)
    print(f"{torch.get_num_threads()} thread(s), {arguments.pictures} pictures of 224 px, batches of 32")
    print(f"{'network':<24}{'cut after':<11}{'whole':>9}{'rest':>8}{'an epoch':>10}{'all epochs':>12}  outputs")
    for name, depth in NETWORKS:
        print(_row(name, depth, _first(task, arguments.pictures), arguments.epochs, arguments.views), flush=True)
    for reference in arguments.accuracy:
        for method in ("finetune", "last_stages"):
            print(_reached(reference, method, task), flush=True)


def _row(name: str, depth: str, task: Task, epochs: int, views: int) -> str:
    source = tr.source(f"random:timm:{name}")
    opened = open_source(source)
    steps = epochs * len(task.splits["train"]) // 32
    fit = Fit(steps=steps, rate=1e-4, augmentation="light", patience=0, validate_every=steps)
    whole, whole_bench = _whole(opened, task, fit)
    whole_s = _cpu(lambda: _train(whole, whole_bench, fit))
    made: list[np.ndarray] = []
    extraction_s = _cpu(lambda: made.append(_activations(opened, task, depth, views)))
    rest, rest_bench = _rest(opened, task, depth, fit, Activations(made[0], views))
    rest_s = _cpu(lambda: _train(rest, rest_bench, fit))
    return (
        f"{name:<24}{depth:<11}{whole_s / epochs:>8.2f}s{rest_s / epochs:>7.2f}s{whole_s / rest_s:>9.1f}x"
        f"{whole_s / (rest_s + extraction_s):>11.1f}x  {_difference(opened, depth):.1e}"
    )


def _whole(opened: Opened, task: Task, fit: Fit) -> tuple[Network, Workbench]:
    network = Network(opened.body, new_head(opened.feature_size, len(task.classes)))
    return network, workbench(task, opened.source.preprocessing, fit)


def _rest(opened: Opened, task: Task, depth: str, fit: Fit, seen: Activations) -> tuple[Network, Workbench]:
    suffix = split_at(opened.body, depth)[1]
    network = Network(suffix, new_head(opened.feature_size, len(task.classes)))
    return network, workbench(task, opened.source.preprocessing, fit, inputs=(seen, seen))


def _activations(opened: Opened, task: Task, depth: str, views: int) -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        found = features(
            opened, task, "train", depth, pooled=False, views=views, augmentation=LIGHT, cache=Path(folder)
        )
        return np.array(cast("Features", found).x_ND)


def _train(network: Network, bench: Workbench, fit: Fit) -> None:
    train(
        network,
        bench.batches(fit),
        objective=bench.objective,
        moves=layerwise(network, decay=0.8, batch_norm="frozen"),
        validate=lambda _: {"score": 0.0, "loss": 0.0},
        fit=fit,
        run=Run(),
    )


def _difference(opened: Opened, depth: str) -> float:
    prefix, suffix = split_at(opened.body, depth)
    x_Bchw = torch.rand(8, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return float((opened.body.eval()(x_Bchw) - suffix.eval()(prefix.eval()(x_Bchw))).abs().max())


def _reached(reference: str, method: str, task: Task) -> str:
    begin = time.process_time()
    model = tr.transfer(reference, task, method=method)
    figure = model.metrics["test"]["accuracy"]
    return (
        f"{reference} by {method}: accuracy {figure['value']:.3f} ({figure['low']:.3f} to {figure['high']:.3f},"
        f" n = {figure['n']:.0f}), {time.process_time() - begin:.0f} CPU-s with the search of its rate"
    )


def _cpu(work: Callable[[], object]) -> float:
    begin = time.process_time()
    work()
    return time.process_time() - begin


def _first(task: Task, count: int) -> Task:
    train_ = task.splits["train"]
    places = np.random.default_rng(0).permutation(len(train_))[:count]
    part = Examples(
        items=[train_.items[place] for place in places],
        targets=np.asarray(train_.targets)[places],
        digests=tuple(train_.digests[place] for place in places),
        names=tuple(train_.names[place] for place in places),
    )
    return replace(task, splits={"train": part, "valid": part})


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", help="labelled pictures: a folder, a table or arrays")
    parser.add_argument("--pictures", type=int, default=64, help="training pictures (default 64)")
    parser.add_argument("--epochs", type=int, default=20, help="passes over them (default 20)")
    parser.add_argument("--views", type=int, default=4, help="augmented views that are cached (default 4)")
    parser.add_argument("--accuracy", nargs="*", default=[], metavar="REF", help="sources to fine-tune both ways")
    return parser.parse_args()


if __name__ == "__main__":
    main()
