"""Trim small differences, elect a sign, mean of what agrees. Yadav et al., "TIES-Merging", arXiv 2306.01708.

Published: the largest `density` of all differences of the model are kept (as in the authors' code, those equal to the
threshold too), and where signs cancel exactly the majority of the elected signs decides. mergekit: per tensor
(`trim="tensor"`), and a sign of zero is positive. Differences of equal size are kept or dropped together in both.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from transfuse.fusing.weights.dare import rescaled
from transfuse.fusing.weights.shares import PerParent
from transfuse.fusing.weights.vectors import agreed, differences

if TYPE_CHECKING:
    import torch

Bounds = Sequence[tuple[float, float]]
"""For each parent: the smallest and the largest magnitude that is kept; nothing when the first is above the second."""


def ties(
    parents: Sequence["torch.Tensor"],
    base: "torch.Tensor",
    *,
    kept: Bounds,
    tie: float,
    weight: PerParent = (1.0,),
    density: PerParent = (0.2,),
    scale: float = 1.0,
    normalize: bool = True,
    trim: Literal["model", "tensor"] = "model",
    rescale: bool = False,
) -> "torch.Tensor":
    """base + `scale` × the disjoint mean. `density`: share of a parent's differences that is kept, 0..1; `rescale`
    restores the L1 norm of each tensor's differences."""
    deltas = differences(parents, base)
    trimmed = within(deltas, kept)
    if rescale:
        trimmed = [rescaled(delta, part, 1.0, "mergekit") for delta, part in zip(deltas, trimmed, strict=True)]
    return base + scale * agreed(trimmed, weight, normalize=normalize, tie=tie)


def within(deltas: Sequence["torch.Tensor"], kept: Bounds) -> list["torch.Tensor"]:
    """The differences with zeros outside of the bounds."""
    from torch.nn import functional as F

    found = []
    for delta, (low, high) in zip(deltas, kept, strict=True):
        if low > high:
            found.append(delta.new_zeros(delta.shape))
            continue
        below = float(
            np.nextafter(np.float32(low), np.float32(0))
        )  # hardshrink keeps what is larger, not what is equal
        part = F.hardshrink(delta, below) if low > 0 else delta
        found.append(part if high == float("inf") else part.masked_fill(part.abs() > high, 0.0))
    return found
