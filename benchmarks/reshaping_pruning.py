"""A fine-tuned network made smaller by `reshape` and by Torch-Pruning, then both taught again in the same way.

    OMP_NUM_THREADS=1 python benchmarks/reshaping_pruning.py DATA --model FOLDER --env v-tp/bin/python
    OMP_NUM_THREADS=1 python benchmarks/reshaping_pruning.py --can resnet18 vit_tiny_patch16_224 ...

DATA has class folders in train/ and test/; FOLDER is a saved Model of a network of timm, fine-tuned on DATA. Equal for
all rows: the network, 512 training pictures that decide (as the network is given them), parameters left, batch
statistics estimated anew on the same pictures, the code that measures, and with `--steps` a distillation from the whole
network of so many steps at one rate. The peer (`peers/peer_torch_pruning.py`, its own environment) gets the weights as
safetensors and gives the smaller ones back. Accuracy on validation and test pictures together; nothing is chosen by it.
`--can` prunes half of the parameters of networks with random weights.
"""

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn

import transfuse as tr
from reshaping import network_of
from transfuse.core.errors import TransfuseError
from transfuse.core.nouns import Model, Task
from transfuse.core.runs import Run
from transfuse.evaluating.assessing import Assessment, assess
from transfuse.evaluating.compare import difference
from transfuse.predicting.costs import costs_of
from transfuse.reshaping.pruning import prune
from transfuse.reshaping.resizing import change_between
from transfuse.reshaping.ways import Given
from transfuse.sources.changes.sizes import put
from transfuse.sources.changes.table import with_change
from transfuse.sources.network import Network
from transfuse.tasks.joining import concatenated
from transfuse.training.batch_statistics import estimated_anew
from transfuse.training.losses import chosen_loss
from transfuse.training.options import Fit

PEER = Path(__file__).parent / "peers" / "peer_torch_pruning.py"


def main() -> None:
    """Print a line for each pruned network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?")
    parser.add_argument("--model")
    parser.add_argument("--env", help="python of the peer's environment")
    parser.add_argument("--shares", type=float, nargs="+", default=[0.5, 0.75])
    parser.add_argument("--steps", type=int, default=0, help="of distilling after it (default none)")
    parser.add_argument("--can", nargs="+", default=[])
    given = parser.parse_args()
    torch.set_num_threads(1)
    for name in given.can:
        _can(name)
    if given.data:
        _side_by_side(given)


def _side_by_side(given: argparse.Namespace) -> None:
    task, model = tr.task(given.data, seed=0), tr.load(given.model)
    both = concatenated(task.splits["valid"], task.splits["test"])
    whole = assess(model, both)
    _line("whole", model, whole, whole, 0.0)
    batches = Given(model, task, 0, Run()).batches
    for share in given.shares:
        found: dict[str, Assessment] = {}
        for name, smaller, seconds in _pruned(model, batches, share, given.env):
            found[name] = assess(smaller, both)
            _line(f"{name}, {share:.0%} gone", smaller, found[name], whole, seconds)
            if given.steps:
                begin = time.process_time()
                taught = _taught(model, smaller, task, given.steps)
                found[f"{name}, taught"] = assess(taught, both)
                _line(
                    f"    + {given.steps} steps", taught, found[f"{name}, taught"], whole, time.process_time() - begin
                )
        for after in ("", ", taught") if given.steps else ("",):
            for peer in ("taylor", "magnitude"):
                gap = _points(difference(found[f"ours{after}"], found[f"{peer}{after}"]))
                print(f"  {share:.0%} gone{after}: ours less Torch-Pruning by {peer} {gap}", flush=True)


def _pruned(model: Model, batches: list[Any], share: float, env: str) -> Iterator[tuple[str, Model, float]]:
    """The same Model without a share of its parameters, by each tool, with CPU-seconds (the peer's: of its process)."""
    network = model.network
    assert isinstance(network, Network)
    begin = time.process_time()
    smaller, change, _ = prune(network, batches, share, chosen_loss(model.kind, Fit()))
    yield "ours", _with(model, smaller, change), time.process_time() - begin
    for importance in ("taylor", "magnitude"):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            np.save(folder / "x.npy", torch.cat([x for x, _ in batches]).numpy())
            np.save(folder / "y.npy", torch.cat([y for _, y in batches]).numpy())
            save_file({n: t.contiguous() for n, t in network.state_dict().items()}, folder / "network.safetensors")
            name = str(model.builder["timm"])
            command = [env, str(PEER), "prune", scratch, name, "--share", str(share), "--importance", importance]
            told = subprocess.run(command, capture_output=True, text=True, check=False)
            if told.returncode:
                raise SystemExit(told.stderr[-2000:])
            theirs = _rebuilt(network, folder)
        estimated_anew(theirs, [x for x, _ in batches])
        seconds = json.loads(told.stdout.splitlines()[-1])["seconds"]
        yield importance, _with(model, theirs, change_between(network.body, theirs.body)), seconds


def _rebuilt(network: Network, folder: Path) -> Network:
    """The peer's network: the same modules with its tensors and groups."""
    made = deepcopy(network)
    for name, tensor in load_file(folder / "pruned.safetensors").items():
        put(made, name, tensor)
    groups = json.loads((folder / "groups.json").read_text())
    for name, module in made.named_modules():
        if isinstance(module, nn.Conv2d):
            module.groups = groups[name]
            module.out_channels, module.in_channels = len(module.weight), module.weight.shape[1] * module.groups
        elif isinstance(module, nn.Linear):
            module.out_features, module.in_features = module.weight.shape
        elif isinstance(module, nn.BatchNorm2d):
            module.num_features = len(module.weight)
    return made.eval()


def _with(model: Model, network: Network, change: dict[str, Any]) -> Model:
    return replace(model, network=network.eval().requires_grad_(False), builder=with_change(model.builder, change))


def _taught(teacher: Model, student: Model, task: Task, steps: int) -> Model:
    with tempfile.TemporaryDirectory() as scratch:
        source = tr.source(str(student.save(Path(scratch) / "student")))
        return tr.distill(teacher, source, task, compare=False, steps=steps, rate=1e-3, seed=0)


def _can(name: str) -> None:
    network, sample_of = network_of(name)
    batches = [(sample_of(0), torch.tensor([0, 1]))]
    begin = time.process_time()
    try:
        smaller, _, _ = prune(network, batches, 0.5, chosen_loss("single-label", Fit()), rounds=2)
        left = sum(p.numel() for p in smaller.parameters()) / sum(p.numel() for p in network.parameters())
        told = f"{1 - left:.3f} of the parameters gone, answers {list(smaller(sample_of(1)).shape)}"
    except TransfuseError as error:
        told = f"refused: {error}"
    print(f"{name}: {told}, {time.process_time() - begin:.1f} CPU-s", flush=True)


def _line(name: str, model: Model, found: Assessment, whole: Assessment, seconds: float) -> None:
    costs = costs_of((model,))[0]
    value, gap = found.measured("accuracy"), _points(difference(found, whole))
    told = f"{value['value']:.2%} ({value['low']:.2%} to {value['high']:.2%}, n = {value['n']})"
    size = f"{costs.parameters:,} parameters, {costs.multiply_adds:,} multiply-adds"
    print(f"{name}: {size}, accuracy {told}, {gap} to the whole, {seconds:.0f} CPU-s", flush=True)


def _points(gap: Any) -> str:
    return f"{100 * gap['value']:+.2f} points ({100 * gap['low']:+.2f} to {100 * gap['high']:+.2f})"


if __name__ == "__main__":
    main()
