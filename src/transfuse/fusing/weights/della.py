"""Drop by magnitude: the larger a difference in its row, the likelier it stays. Deep et al., "DELLA", arXiv 2406.11617.

The probability to stay rises with the rank in the row from density − epsilon to density + epsilon. Published: what
stays is divided by its own probability; mergekit: the L1 norm is restored. A row of one element stays with probability
`density` (mergekit divides zero by zero there). Equal magnitudes are ranked by their place.
Letters: R rows, M elements of a row.
"""

from collections.abc import Sequence

import torch

from transfuse.core.errors import UsageError
from transfuse.fusing.weights.dare import thinned
from transfuse.fusing.weights.methods import Compat
from transfuse.fusing.weights.shares import PerParent, shares
from transfuse.fusing.weights.vectors import Draw, agreed, weighted_sum


def della(
    parents: Sequence[torch.Tensor],
    base: torch.Tensor,
    *,
    draw: Draw,
    weight: PerParent = (1.0,),
    density: PerParent = (0.5,),
    epsilon: PerParent = (0.15,),
    scale: float = 1.0,
    normalize: bool = True,
    rescale: bool = True,
    compat: Compat = "published",
) -> torch.Tensor:
    """base + `scale` × the mean of what stays and agrees in sign."""
    deltas = _thinned(parents, base, density, epsilon, rescale=rescale, draw=draw, compat=compat)
    return base + scale * agreed(deltas, weight, normalize=normalize, tie=1.0)


def della_linear(
    parents: Sequence[torch.Tensor],
    base: torch.Tensor,
    *,
    draw: Draw,
    weight: PerParent = (1.0,),
    density: PerParent = (0.5,),
    epsilon: PerParent = (0.15,),
    scale: float = 1.0,
    normalize: bool = False,
    rescale: bool = True,
    compat: Compat = "published",
) -> torch.Tensor:
    """base + `scale` × Σ w·(what stays)."""
    deltas = _thinned(parents, base, density, epsilon, rescale=rescale, draw=draw, compat=compat)
    return base + scale * weighted_sum(deltas, list(shares(weight, normalize)))


def _thinned(
    parents: Sequence[torch.Tensor],
    base: torch.Tensor,
    density: PerParent,
    epsilon: PerParent,
    *,
    rescale: bool,
    draw: Draw,
    compat: Compat,
) -> list[torch.Tensor]:
    return thinned(
        parents, base, density, rescale, draw, compat, lambda delta, i: probabilities(delta, density[i], epsilon[i])
    )  # fmt: skip


def probabilities(delta: torch.Tensor, density: float, epsilon: float) -> torch.Tensor:
    """The probability of every element to stay. Raises `UsageError` when one would not lie between 0 and 1."""
    if not 0 < density - epsilon <= density + epsilon < 1:
        raise UsageError(
            f"`epsilon` must be such that density ± epsilon lies between 0 and 1, but is {epsilon:g} with a density of"
            f" {density:g}. Choose an epsilon below {min(density, 1 - density):g}."
        )
    rows_RM = delta.reshape(-1, delta.shape[-1]) if delta.dim() > 1 else delta.reshape(1, -1)
    m = rows_RM.shape[1]
    if m == 1:
        return torch.full_like(delta, density, dtype=torch.float64)
    order_RM = rows_RM.abs().argsort(dim=1, stable=True)
    places_M = torch.arange(m, dtype=torch.float64).expand_as(rows_RM)
    rank_RM = torch.empty_like(rows_RM, dtype=torch.float64).scatter_(1, order_RM, places_M)
    return (density - epsilon + rank_RM / (m - 1) * 2 * epsilon).reshape(delta.shape)
