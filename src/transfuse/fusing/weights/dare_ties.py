"""TIES' election of signs on randomly thinned task vectors (see `dare`); nothing is trimmed.

Published: the mean of what agrees; mergekit: its weighted sum (`normalize=false`). A sign of zero is positive.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from transfuse.fusing.weights.dare import thinned
from transfuse.fusing.weights.methods import Compat
from transfuse.fusing.weights.shares import PerParent
from transfuse.fusing.weights.vectors import Draw, agreed

if TYPE_CHECKING:
    import torch


def dare_ties(
    parents: Sequence["torch.Tensor"],
    base: "torch.Tensor",
    *,
    draw: Draw,
    weight: PerParent = (1.0,),
    density: PerParent = (0.5,),
    scale: float = 1.0,
    normalize: bool = True,
    rescale: bool = True,
    compat: Compat = "published",
) -> "torch.Tensor":
    """base + `scale` × what agrees in sign."""
    deltas = thinned(parents, base, density, rescale, draw, compat)
    return base + scale * agreed(deltas, weight, normalize=normalize, tie=1.0)
