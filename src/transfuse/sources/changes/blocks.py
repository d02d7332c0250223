"""Modules that stand where one block stood: a chain of blocks, a gated block, a new block, none.

Letters: B examples, c channels, D features.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from transfuse.sources.network import ACTIVATIONS


class Chain(nn.Sequential):
    """A block and those after it, called as the first one is; what is read of it is read of the first."""

    def forward(self, x: Tensor, *given: Any, **named: Any) -> Any:  # type: ignore[override]
        output = self[0](x, *given, **named)
        given, named = without_store(given, named)
        for block in list(self)[1:]:
            output = with_first(output, first_of(block(first_of(output), *given, **named)))
        return output

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            if name.startswith("_") or not self._modules:
                raise
            return getattr(self._modules["0"], name)


class Gated(nn.Module):
    """x + a·(block(x) − x); the learnt number a begins at 0 ("ReZero", arXiv 2003.04887, around whole blocks)."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.gain = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, *given: Any, **named: Any) -> Tensor:
        return x + self.gain * (first_of(self.block(x, *given, **named)) - x)


class Grown(nn.Module):
    """x + layer(activation(x)), the layer all 0 at first; over channels in space, or over the last axis."""

    def __init__(self, width: int, kernel: int, activation: str) -> None:
        super().__init__()
        self.act = ACTIVATIONS[activation]()
        self.layer = nn.Conv2d(width, width, kernel, padding=kernel // 2) if kernel else nn.Linear(width, width)
        nn.init.zeros_(self.layer.weight)
        nn.init.zeros_(self.layer.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, *given: Any, **named: Any) -> Tensor:
        return x + self.layer(self.act(x))


class Skipped(nn.Module):
    """Gives what it is given: stands where a block was taken out, and keeps that block's plain attributes."""

    def __init__(self, of: nn.Module) -> None:
        super().__init__()
        for name, value in vars(of).items():
            if not name.startswith("_") and name != "training" and isinstance(value, str | int | float | bool):
                setattr(self, name, value)

    def forward(self, x: Tensor, *given: Any, **named: Any) -> Tensor:
        return x


def without_store(given: Sequence[Any], named: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments without the store of keys and values of earlier tokens: the first block of a place has it."""
    kept = tuple(None if _is_store(value) else value for value in given)
    return kept, {name: None if _is_store(value) else value for name, value in named.items()}


def _is_store(value: Any) -> bool:
    return hasattr(type(value), "get_seq_length")  # of the type: the stand-ins of tracing have every attribute


def first_of(output: Any) -> Any:
    """The states among what a block gives; layers of transformers may give more beside them."""
    return output[0] if isinstance(output, tuple) else output


def with_first(output: Any, first: Any) -> Any:
    """What a block gave, with other states."""
    return (first, *output[1:]) if isinstance(output, tuple) else first
