"""A network is a body, which turns pictures into features, and a head, which turns features into answers.

Letters: B pictures, c channels, h w pixels, D features, C classes or target columns.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from transfuse.core.errors import UsageError
from transfuse.core.tables import chosen

ACTIVATIONS: Mapping[str, type[nn.Module]] = {
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
}
HEADS = ("linear", "mlp", "cosine")


class Network(nn.Module):
    """`head(body(x))`: pictures (B, c, h, w), normalised, to logits or values (B, C)."""

    def __init__(self, body: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.head = head

    def forward(self, x_Bchw: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x_Bchw))


class SharedNetwork(nn.Module):
    """One body under several heads, which all see what it makes of a batch once: (B, C of all heads side by side)."""

    def __init__(self, body: nn.Module, heads: Sequence[nn.Module]) -> None:
        super().__init__()
        self.body = body
        self.heads = nn.ModuleList(heads)

    def forward(self, x_Bchw: torch.Tensor) -> torch.Tensor:
        x_BD = self.body(x_Bchw)
        return torch.cat([head(x_BD) for head in self.heads], dim=1)


class CosineHead(nn.Module):
    """Logits that are scaled cosines between features and one direction a class.

    Gidaris and Komodakis, "Dynamic few-shot visual learning without forgetting", arXiv 1804.09458, section 3.2.
    """

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(classes, features))
        self.scale = nn.Parameter(torch.tensor(10.0))
        nn.init.kaiming_uniform_(self.weight, a=5**0.5)

    def forward(self, x_BD: torch.Tensor) -> torch.Tensor:
        return self.scale * nn.functional.linear(nn.functional.normalize(x_BD), nn.functional.normalize(self.weight))


def new_head(
    features: int,
    classes: int,
    kind: str = "linear",
    hidden: int | None = None,
    activation: str = "relu",
    dropout: float = 0.0,
) -> nn.Module:
    """A head with random weights, (B, D) to (B, C).

    kind: `linear`; `mlp` with one hidden layer of `hidden` units (default: as many as features, at most 512) and an
    `activation`; `cosine`. dropout: 0..1, before the last layer. Raises `UsageError` for other values.
    """
    chosen("head", kind, HEADS)
    if not 0 <= dropout < 1:
        raise UsageError(f"`dropout` must be in 0..1, but is {dropout}.")
    if kind == "mlp":
        width = hidden or min(features, 512)
        middle = ACTIVATIONS[chosen("activation", activation, ACTIVATIONS)]()
        return nn.Sequential(nn.Linear(features, width), middle, nn.Dropout(dropout), nn.Linear(width, classes))
    last = CosineHead(features, classes) if kind == "cosine" else nn.Linear(features, classes)
    return nn.Sequential(nn.Dropout(dropout), last) if dropout else last


def head_from(spec: Mapping[str, Any], features: int, classes: int) -> nn.Module:
    """The head that a saved Model describes (`Model.head`)."""
    known = ("kind", "hidden", "activation", "dropout")
    return new_head(features, classes, **{name: spec[name] for name in known if name in spec})
