"""Task arithmetic on randomly thinned task vectors (see `dare`)."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from transfuse.fusing.weights.dare import thinned
from transfuse.fusing.weights.methods import Compat
from transfuse.fusing.weights.shares import PerParent, shares
from transfuse.fusing.weights.vectors import Draw, weighted_sum

if TYPE_CHECKING:
    import torch


def dare_linear(
    parents: Sequence["torch.Tensor"],
    base: "torch.Tensor",
    *,
    draw: Draw,
    weight: PerParent = (1.0,),
    density: PerParent = (0.5,),
    scale: float = 1.0,
    normalize: bool = False,
    rescale: bool = True,
    compat: Compat = "published",
) -> "torch.Tensor":
    """base + `scale` × Σ w·(thinned differences)."""
    deltas = thinned(parents, base, density, rescale, draw, compat)
    return base + scale * weighted_sum(deltas, list(shares(weight, normalize)))
