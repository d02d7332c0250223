"""Where a killed training run resumes: one safetensors file, replaced atomically, no pickle in it.

It is read back only when no bit of it has changed: work of hours is neither thrown away nor gone on with in silence.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from transfuse.core import atomic
from transfuse.training.averaging import Average
from transfuse.weights.files import read_whole, write_tensors

_NAME = "training.safetensors"


@dataclass(frozen=True, kw_only=True)
class State:
    """All that a step of training depends on, beside the data."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    average: Average | None
    best: dict[str, Tensor]
    progress: dict[str, Any]
    """Plain values: step, history, best metrics, validations since the best."""


def save(folder: Path, state: State, fingerprint: str) -> None:
    """Write the state; the fingerprint says which run it belongs to."""
    tensors = {f"network.{name}": tensor for name, tensor in state.network.state_dict().items()}
    tensors |= {f"best.{name}": tensor for name, tensor in state.best.items()}
    if state.average is not None:
        tensors |= {f"average.{name}": tensor for name, tensor in state.average.tensors.items()}
    for place, values in state.optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{place}.{name}": value for name, value in values.items() if value is not None}
    updates = state.average.updates if state.average else 0
    metadata = {"fingerprint": fingerprint, "progress": json.dumps(state.progress), "updates": str(updates)}
    write_tensors(folder / _NAME, tensors, metadata)


def restore(folder: Path, state: State, fingerprint: str) -> bool:
    """Fill `state` from the folder; False when there is nothing there that belongs to this run.

    Raises `WeightsError` for a checkpoint that was changed.
    """
    path = folder / _NAME
    if not path.exists():
        return False
    tensors, metadata = read_whole(path)
    if metadata.get("fingerprint") != fingerprint:
        return False
    state.network.load_state_dict(_under("network.", tensors))
    state.best.update(_under("best.", tensors))
    if state.average is not None:
        for name, tensor in _under("average.", tensors).items():
            state.average.tensors[name].copy_(tensor)
        state.average.updates = int(metadata["updates"])
    _restore_optimizer(state.optimizer, _under("optimizer.", tensors))
    state.progress.update(json.loads(metadata["progress"]))
    return True


def discard(folder: Path) -> None:
    """Remove the checkpoint of a run that has ended, and what killed ones left of it."""
    atomic.sweep(folder / _NAME)
    (folder / _NAME).unlink(missing_ok=True)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    document = optimizer.state_dict()
    document["state"] = {}
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for name, tensor in tensors.items():
        place, entry = name.split(".", 1)
        like = parameters[int(place)]
        if tensor.shape == like.shape:  # laid out as the parameter is: the fused step goes through memory
            tensor = torch.empty_like(like).copy_(tensor)
        document["state"].setdefault(int(place), {})[entry] = tensor
    optimizer.load_state_dict(document)
