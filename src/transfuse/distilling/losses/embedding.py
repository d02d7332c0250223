"""A learnt linear map to vectors of length 1: where the features of two networks meet."""

import torch.nn.functional as F
from torch import Tensor, nn


class Embedding(nn.Module):
    """(B, D) to (B, K)."""

    def __init__(self, features: int, size: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features, size)

    def forward(self, x_BD: Tensor) -> Tensor:
        """Rows of length 1."""
        return F.normalize(self.linear(x_BD.flatten(1)))
