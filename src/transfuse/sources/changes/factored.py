"""Layers as two of a lower rank: `{"change": "factored", "layers": {path: rank}}`.

A linear map becomes two; a convolution k×k one of `rank` channels, then one of 1×1 with the bias.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from transfuse.core.errors import ModelError
from transfuse.sources.changes.places import module_at, put_module


class Factored(nn.Sequential):
    """Two layers in the place of one, whose weight and bias can be read as if it were one."""

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        """The product of both."""
        first, second = self[0].weight, self[1].weight
        return torch.tensordot(second.flatten(1), first, 1)  # type: ignore[operator, arg-type]

    @property
    def bias(self) -> Tensor | None:  # type: ignore[override]
        """The second layer's."""
        return self[1].bias  # type: ignore[return-value]


def replayed(body: nn.Module, change: Mapping[str, Any]) -> nn.Module:
    """The body with room for the factors. Raises `ModelError`."""
    for path, rank in change["layers"].items():
        put_module(body, path, two_of(module_at(body, path), int(rank)))
    return body


def two_of(layer: nn.Module, rank: int) -> Factored:
    """Two layers of random weights for one. Raises `ModelError` for what is neither a linear map nor a convolution."""
    if isinstance(layer, nn.Linear):
        pair: tuple[nn.Module, nn.Module] = (
            nn.Linear(layer.in_features, rank, bias=False),
            nn.Linear(rank, layer.out_features),
        )
    elif isinstance(layer, nn.Conv2d) and layer.groups == 1:
        first = nn.Conv2d(
            layer.in_channels, rank, layer.kernel_size, layer.stride, layer.padding, layer.dilation,  # type: ignore[arg-type]
            bias=False, padding_mode=layer.padding_mode,
        )  # fmt: skip
        pair = (first, nn.Conv2d(rank, layer.out_channels, 1))
    else:
        raise ModelError(f"A change factors {type(layer).__name__}, which is no linear map or plain convolution.")
    return Factored(*pair).to(layer.weight.dtype)
