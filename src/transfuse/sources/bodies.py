"""Parting a network into the body, which ends in pooled features, and the head that it was trained with.

Letters: B pictures, D features, h w the size of a map.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from transfuse.core.errors import SourceError
from transfuse.core.nouns import AnyPreprocessing
from transfuse.sources import inputs
from transfuse.sources.images import timm_networks


class PooledBody(nn.Module):
    """A network that gives maps, made to give pooled features of its last map."""

    def __init__(self, net: nn.Module, dimensions: int) -> None:
        super().__init__()
        self.net = net
        self.dimensions = dimensions  # of the map; asked of the tensor, it would stop tracing

    def forward(self, x_Bchw: torch.Tensor) -> torch.Tensor:
        return pooled(last_map(self.net(x_Bchw)), self.dimensions)


def of_timm(network: nn.Module) -> tuple[nn.Module, nn.Module | None]:
    """Body up to pooled pre-logits, and the classifier, of a network of timm."""
    name = timm_networks.classifier_name(network)
    head = network.get_submodule(name) if name else None
    reset: Callable[[int], None] = network.reset_classifier  # type: ignore[assignment]
    reset(0)
    return network, None if isinstance(head, nn.Identity) else head


def of_function(network: nn.Module, shape: Sequence[int]) -> tuple[nn.Module, str | None, nn.Module | None]:
    """Body, name of the head, and head of a user's network: the head is the linear layer that gives the output.

    shape: (c, h, w) of a picture. Without such a layer the network is a backbone, whose last map is pooled.
    """
    sample = torch.zeros(2, *shape)
    linear: dict[int, tuple[str, nn.Linear]] = {}
    handles = [
        module.register_forward_hook(_noting(name, linear))
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear)
    ]
    output = _run(network, sample)
    for handle in handles:
        handle.remove()
    name, head = linear.get(id(output), (None, None)) if isinstance(output, torch.Tensor) else (None, None)
    if name == "":
        raise SourceError("A network must be more than one linear layer.")
    if name:
        network.set_submodule(name, nn.Identity())
        output = _run(network, sample)
    plain = isinstance(output, torch.Tensor) and output.ndim == 2
    return (network if plain else PooledBody(network, last_map(output).ndim)), name, head


def inner(body: nn.Module) -> nn.Module:
    """The network inside a PooledBody, whose names are those of the weights' file."""
    return body.net if isinstance(body, PooledBody) else body


def last_map(output: Any) -> torch.Tensor:
    """The deepest map of what a backbone gives: one tensor, a sequence or a mapping of them, shallow to deep."""
    while isinstance(output, Mapping | list | tuple):
        if not output:
            raise SourceError("A backbone must give at least one map, but gave none.")
        output = list(output.values())[-1] if isinstance(output, Mapping) else output[-1]
    if not hasattr(output, "ndim"):  # not isinstance, for the stand-ins of tracing
        raise SourceError(f"A backbone must give tensors, but gave {type(output).__name__}.")
    return output


def pooled(map_: torch.Tensor, dimensions: int, channels_last: bool = False) -> torch.Tensor:
    """Mean over space: (B, D, h, w), (B, h, w, D) when `channels_last`, or tokens (B, T, D), to (B, D)."""
    if dimensions == 4:
        return map_.mean((1, 2) if channels_last else (2, 3))
    return map_.mean(1) if dimensions == 3 else map_.flatten(1)


def gives_channels_last(body: nn.Module) -> bool:
    """Whether maps inside the body are (B, h, w, D), as in Swin."""
    return getattr(body, "output_fmt", "NCHW") == "NHWC"


def feature_size(body: nn.Module, preprocessing: AnyPreprocessing) -> int:
    """D, by running the body on one blank example."""
    output = _run(body, inputs.blank(preprocessing))
    if not isinstance(output, torch.Tensor) or output.ndim != 2:
        raise SourceError(
            f"A body must give features (examples, D), but gave {getattr(output, 'shape', type(output))}."
        )
    return output.shape[1]


def _noting(name: str, linear: dict[int, tuple[str, nn.Linear]]) -> Any:
    kept: list[torch.Tensor] = []  # an id is only unique among tensors that are alive

    def note(module: nn.Linear, given: Any, output: torch.Tensor) -> None:
        kept.append(output)
        linear[id(output)] = (name, module)

    return note


def _run(network: nn.Module, sample: torch.Tensor) -> Any:
    mode = network.training
    try:
        with torch.inference_mode():
            return network.eval()(sample)
    except Exception as error:  # a network may raise anything for a size that it does not take
        raise SourceError(_refused(sample, error)) from error
    finally:
        network.train(mode)


def _refused(sample: torch.Tensor, error: Exception) -> str:
    why = str(error)[:200]
    if sample.ndim != 4:
        return f"The network does not take examples of shape {tuple(sample.shape[1:])}: {why}."
    return (
        f"The network does not take pictures of shape {tuple(sample.shape[1:])}: {why}. Give its"
        " size, and mean and std with as many values as it has channels."
    )
