"""base + scale·(the task vector's entry of largest magnitude). Marczak et al., "MagMax", arXiv 2407.06322.

Among equals the later parent wins, as published.
"""

from collections.abc import Sequence

import torch

from transfuse.fusing.weights.vectors import differences


def magmax(parents: Sequence[torch.Tensor], base: torch.Tensor, *, scale: float = 0.5) -> torch.Tensor:
    """The strongest change of every element, `scale` times."""
    first, *others = differences(parents, base)
    for other in others:
        first = torch.where(other.abs() >= first.abs(), other, first)
    return base + scale * first
