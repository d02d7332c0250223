"""A plain network without normalisation, for small pictures: three layers of 512 units."""

from torch import nn


def mlp() -> nn.Sequential:
    """(B, 3, 16, 16) to (B, 10)."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(768, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 10)
    )  # fmt: skip
