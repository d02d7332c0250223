"""Bodies side by side, all of which see the same prepared example. Siblings: `fused`, where each sees its own view.

Letters: B examples, D features.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from transfuse.core.errors import SourceError


class BesideBody(nn.Module):
    """A batch to the features of all bodies, (B, sum of D)."""

    def __init__(self, parts: Sequence[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([part(x) for part in self.parts], 1)

    def layer_names(self) -> tuple[str, ...]:
        """It is read at its end only."""
        return ()

    def at(self, names: tuple[str, ...]) -> nn.Module:
        """There are no other depths."""
        raise SourceError("Networks side by side are read at their end only.")

    def layer_of_parameter(self) -> dict[str, int]:
        """All parts are one layer."""
        return {name: 0 for name, _ in self.named_parameters()}


def rebuilt(described: Sequence[Any], rebuild: Callable[[Mapping[str, Any]], nn.Module]) -> BesideBody:
    """The body that a builder's `beside` entry describes; `rebuild` makes its parts."""
    return BesideBody([rebuild(part) for part in described])
