"""Σ w·(F+floor)·x / Σ w·(F+floor). Matena and Raffel, "Merging with Fisher-weighted averaging", arXiv 2111.09832.

F is the diagonal Fisher information of every parent, given as tensors of the same names. MergeLM's variant, weights
divided by the norm of each parent's F over the whole model, is to be given as `weight`.
"""

from collections.abc import Sequence

import torch

from transfuse.core.errors import WeightsError
from transfuse.fusing.weights.shares import PerParent


def fisher(
    parents: Sequence[torch.Tensor],
    base: torch.Tensor | None,
    *,
    statistics: Sequence[torch.Tensor],
    weight: PerParent = (1.0,),
    floor: float = 1e-6,
) -> torch.Tensor:
    """The mean in which every element counts as much as its parent is sure of it; plain without statistics."""
    total, divisor = torch.zeros_like(parents[0]), torch.zeros_like(parents[0])
    certainties = statistics or [torch.zeros_like(parent) for parent in parents]
    for parent, certainty, w in zip(parents, certainties, weight, strict=True):
        if bool((certainty < 0).any()):
            raise WeightsError("Fisher information must not be negative, but is. Give mean squared gradients.")
        share = (certainty + floor) * w
        total += share * parent
        divisor += share
    return total / divisor
