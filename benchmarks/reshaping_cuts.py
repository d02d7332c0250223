"""A fine-tuned network made smaller, without any training after: lower ranks, fewer blocks, early exits.

OMP_NUM_THREADS=1 python benchmarks/reshaping_cuts.py DATA [--seeds 0 1 2] [--steps 300] [--model FOLDER]

DATA is a folder of class folders with train/ and test/. The network is the built-in source, fine-tuned (or a saved
Model). Ranks: by what layers answer on the training examples against plain singular values of the weights, at equal
shares of parameters. Everything is decided on training (exits: and validation) examples; accuracy is that of the test
split with n, differences are paired on the same examples (95 % interval).
"""

import argparse
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

import transfuse as tr
from transfuse.core.errors import TransfuseError
from transfuse.core.nouns import Model, Task
from transfuse.evaluating.assessing import Assessment, assess
from transfuse.evaluating.compare import difference
from transfuse.reshaping.cutting import cut
from transfuse.reshaping.exits import early_exits, measured
from transfuse.reshaping.factoring import factor
from transfuse.sources import inputs
from transfuse.sources.network import Network

SHARES = (0.5, 0.35, 0.25, 0.18)


def main() -> None:
    """Print a line for each way and seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--model")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    for seed in arguments.seeds:
        task = tr.task(arguments.data, seed=seed)
        given = arguments.model
        model = tr.load(given) if given else tr.transfer(
            "builtin", task, method="finetune", seed=seed, steps=arguments.steps
        )  # fmt: skip
        _of_model(model, task, seed)


def _of_model(model: Model, task: Task, seed: int) -> None:
    test = task.splits["test"]
    whole = assess(model, test)
    size = sum(p.numel() for p in model.network.parameters())
    print(f"seed {seed}: {model.name}, {size:,} parameters, accuracy {_told(whole.measured('accuracy'))}", flush=True)
    batches = _batches(model, task)
    network = model.network
    assert isinstance(network, Network)
    for share in SHARES:
        found = {guide: _of(model, factor(network, batches, share, guide=guide)[0]) for guide in ("answers", "weights")}
        judged = {guide: assess(smaller, test) for guide, smaller in found.items()}
        for guide, one in judged.items():
            _line(f"ranks by {guide}, {share:.0%} of the parameters", found[guide], one, whole)
        gap = difference(judged["answers"], judged["weights"])
        print(f"    by answers less by weights: {_points(gap)}", flush=True)
    for keep in (0.8, 0.6, 0.4):
        shallower = _of(model, cut(network, batches, keep)[0])
        _line(f"{keep:.0%} of the blocks", shallower, assess(shallower, test), whole)
    for most in (0.0, 0.5, 1.0, None):
        try:
            early, _ = early_exits(model, task, most=most)
        except TransfuseError as error:
            print(f"  {error}")
            break
        told: dict[str, Any] = measured(model, early, test)
        name = "no loss proven" if most is None else f"at most {most:g} points lost"
        times = f"{told['milliseconds']:.2f} of {told['milliseconds_whole']:.2f} ms"
        cost = f"{told['operations']:.1%} of the operations, {times}"
        _line(f"exits ({name} in validation), {cost}", early, assess(early, test), whole)


def _batches(model: Model, task: Task) -> list[Tensor]:
    return list(inputs.batches(task.splits["train"].items, model.preprocessing, 64))


def _of(model: Model, network: Network) -> Model:
    return replace(model, network=network)


def _line(name: str, model: Model, found: Assessment, whole: Assessment) -> None:
    size = sum(p.numel() for p in model.network.parameters())
    gap = _points(difference(found, whole))
    print(f"  {name}: {size:,} parameters, accuracy {_told(found.measured('accuracy'))}, {gap}", flush=True)


def _told(value: Any) -> str:
    return f"{value['value']:.2%} ({value['low']:.2%} to {value['high']:.2%}, n = {value['n']})"


def _points(gap: Any) -> str:
    return f"{100 * gap['value']:+.2f} points ({100 * gap['low']:+.2f} to {100 * gap['high']:+.2f})"


if __name__ == "__main__":
    main()
