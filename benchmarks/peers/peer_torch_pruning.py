"""Torch-Pruning in an environment of its own: `pip install torch-pruning torch timm safetensors`.

    python peer_torch_pruning.py prune FOLDER NAME --share 0.5 --importance taylor
    python peer_torch_pruning.py can NAME ...

`prune`: FOLDER has network.safetensors (`body.` of timm's NAME without its classifier, `head.`), x.npy and y.npy; the
pruned tensors go to pruned.safetensors, the groups of its convolutions to groups.json. As its README recommends: one
ranking over the whole network, the head ignored, in many small steps with gradients of all examples before each, until
the share of parameters is gone; no layer loses more than nine tenths. `can`: whether half of the channels of networks
can go and the rest runs; attention as in its example for timm (heads are told, and the size of one is set after).
"""

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torch_pruning as tp
from safetensors.torch import load_file, save_file
from torch import nn

STEPS = 40


class Network(nn.Module):
    """Body and head."""

    def __init__(self, name: str, classes: int, size: int) -> None:
        super().__init__()
        self.body = timm.create_model(name, num_classes=0).eval()
        with torch.no_grad():
            self.head = nn.Linear(self.body(torch.zeros(2, 3, size, size)).shape[1], classes)

    def forward(self, x: torch.Tensor) -> Any:
        return self.head(self.body(x))


def main() -> None:
    """Print one JSON line for each network."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("prune")
    one.add_argument("folder", type=Path)
    one.add_argument("name")
    one.add_argument("--share", type=float, default=0.5)
    one.add_argument("--importance", choices=("taylor", "magnitude"), default="taylor")
    commands.add_parser("can").add_argument("names", nargs="+")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    if given.command == "prune":
        _prune(given)
        return
    for name in given.names:
        try:
            print(json.dumps({"network": name, **_halved(name)}), flush=True)
        except Exception as error:  # whatever it raises is the answer
            print(json.dumps({"network": name, "error": f"{type(error).__name__}: {error}"[:200]}), flush=True)


def _prune(given: argparse.Namespace) -> None:
    x = torch.from_numpy(np.load(given.folder / "x.npy"))
    y = torch.from_numpy(np.load(given.folder / "y.npy"))
    tensors = load_file(given.folder / "network.safetensors")
    network = Network(given.name, tensors["head.weight"].shape[0], x.shape[-1]).eval()
    network.load_state_dict(tensors)
    before = _size(network)
    pruner = _pruner(network, x[:2], given.importance, 1.0)
    while _size(network) > (1 - given.share) * before:
        network.zero_grad()
        for begin in range(0, len(x), 64):
            loss = nn.functional.cross_entropy(network(x[begin : begin + 64]), y[begin : begin + 64])
            (loss * min(64, len(x) - begin) / len(x)).backward()
        size = _size(network)
        pruner.step()
        if pruner.current_step >= STEPS:
            break
        print(json.dumps({"step": pruner.current_step, "before": size, "after": _size(network)}), flush=True)
    save_file({n: t.contiguous() for n, t in network.state_dict().items()}, given.folder / "pruned.safetensors")
    groups = {n: m.groups for n, m in network.named_modules() if isinstance(m, nn.Conv2d)}
    (given.folder / "groups.json").write_text(json.dumps(groups))
    print(json.dumps({"before": before, "after": _size(network), "seconds": time.process_time()}))


def _pruner(network: nn.Module, sample: torch.Tensor, importance: str, ratio: float, **options: Any) -> Any:
    known = {"taylor": tp.importance.GroupTaylorImportance, "magnitude": tp.importance.GroupMagnitudeImportance}
    return tp.pruner.BasePruner(
        network, sample, importance=known[importance](), global_pruning=True, pruning_ratio=ratio,
        max_pruning_ratio=0.9, ignored_layers=[network.head], iterative_steps=options.pop("steps", STEPS), **options,
    )  # fmt: skip


def _halved(name: str) -> dict[str, Any]:
    size = 224 if "224" in name else 64
    network = Network(name, 7, size).eval()
    sample = torch.randn(2, 3, size, size)
    before = _size(network)
    attention = [m for m in network.modules() if hasattr(m, "qkv") and hasattr(m, "num_heads")]
    heads = {m.qkv: m.num_heads for m in attention}
    for module in attention:
        module.fused_attn = False
    pruner = _pruner(network, sample, "magnitude", 0.5, steps=1, num_heads=heads)
    pruner.step()
    for module in attention:
        module.num_heads = pruner.num_heads[module.qkv]
        module.head_dim = module.qkv.out_features // (3 * module.num_heads)
        module.attn_dim = module.num_heads * module.head_dim
    with torch.no_grad():
        answers = network(sample)
    return {"share": round(1 - _size(network) / before, 3), "runs": list(answers.shape) == [2, 7]}


def _size(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


if __name__ == "__main__":
    main()
