"""Drop the largest and the smallest differences of every tensor, add the rest. Davari and Belilovsky, arXiv 2312.06795.

The largest `gamma` are outliers; of what is left the largest are kept until `density` of all elements remain. When both
cannot hold, fewer outliers are dropped (as in mergekit). `breadcrumbs_ties` elects signs as TIES does, a sign of zero
being positive. Both `compat` agree.
"""

from collections.abc import Sequence

import torch

from transfuse.fusing.weights.shares import PerParent, shares
from transfuse.fusing.weights.ties import Bounds, within
from transfuse.fusing.weights.vectors import agreed, differences, weighted_sum


def breadcrumbs(
    parents: Sequence[torch.Tensor],
    base: torch.Tensor,
    *,
    kept: Bounds,
    weight: PerParent = (1.0,),
    density: PerParent = (0.9,),
    gamma: PerParent = (0.01,),
    scale: float = 1.0,
    normalize: bool = False,
) -> torch.Tensor:
    """base + `scale` × Σ w·(what lies between the bounds)."""
    deltas = within(differences(parents, base), kept)
    return base + scale * weighted_sum(deltas, list(shares(weight, normalize)))


def breadcrumbs_ties(
    parents: Sequence[torch.Tensor],
    base: torch.Tensor,
    *,
    kept: Bounds,
    weight: PerParent = (1.0,),
    density: PerParent = (0.9,),
    gamma: PerParent = (0.01,),
    scale: float = 1.0,
    normalize: bool = False,
) -> torch.Tensor:
    """base + `scale` × Σ of what lies between the bounds and agrees in sign."""
    deltas = within(differences(parents, base), kept)
    return base + scale * agreed(deltas, weight, normalize=normalize, tie=1.0)
