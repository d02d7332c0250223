"""A frozen source with a second, moving path beside it.

Zhang et al., "Side-Tuning", arXiv 1912.13503. Letters: B pictures, c channels, D features.
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_GRID = 16  # pixels a side of the reduced picture that the additive form's linear map sees


class BlendedBody(nn.Module):
    """α·side(x) + (1−α)·source(x); α is learnt through a sigmoid. Features of other widths are projected to D."""

    def __init__(self, source: nn.Module, side: nn.Module, size: int, side_size: int, alpha: float = 0.5) -> None:
        super().__init__()
        self.source, self.side = source, side
        self.project = nn.Identity() if side_size == size else nn.Linear(side_size, size, bias=False)
        self.alpha_logit = nn.Parameter(torch.logit(torch.tensor(alpha, dtype=torch.float32), eps=1e-6))

    @property
    def alpha(self) -> Tensor:
        """0..1: share of the side path."""
        return torch.sigmoid(self.alpha_logit)

    def forward(self, x_Bchw: Tensor) -> Tensor:
        source_BD = self.source(x_Bchw)
        return source_BD + self.alpha * (self.project(self.side(x_Bchw)) - source_BD)


class AdditiveBody(nn.Module):
    """source(x) + α·W·x: W is linear on the picture, reduced to 16×16; it starts at 0, so that nothing is lost."""

    def __init__(self, source: nn.Module, size: int, channels: int, alpha: float = 1.0) -> None:
        super().__init__()
        self.source = source
        self.linear = nn.Linear(channels * _GRID**2, size, bias=False)
        nn.init.zeros_(self.linear.weight)
        self.alpha = nn.Parameter(torch.tensor(alpha, dtype=torch.float32))

    def forward(self, x_Bchw: Tensor) -> Tensor:
        reduced = F.adaptive_avg_pool2d(x_Bchw, _GRID).flatten(1)
        return self.source(x_Bchw) + self.alpha * self.linear(reduced)


def rebuilt(described: Mapping[str, Any], rebuild: Callable[[Mapping[str, Any]], nn.Module]) -> nn.Module:
    """The body that a builder's `side` entry describes; `rebuild` makes its parts."""
    source, size = rebuild(described["source"]), described["size"]
    if described["form"] == "additive":
        return AdditiveBody(source, size, described["channels"])
    return BlendedBody(source, rebuild(described["side"]), size, described["side_size"])
