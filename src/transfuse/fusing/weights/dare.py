"""Drop And REscale. Yu et al., "Language Models are Super Mario", arXiv 2311.03099.

Every difference is kept with probability `density`. Published: what is kept is divided by the density; mergekit: by the
share of the L1 norm that is left (not at all when nothing is). `dare_linear` puts it before task arithmetic,
`dare_ties` before TIES' election of signs, of which mergekit takes the weighted sum (`normalize=false`) in place of the
mean; a sign of zero is positive.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from transfuse.fusing.weights.methods import Compat
from transfuse.fusing.weights.shares import PerParent, shares
from transfuse.fusing.weights.vectors import Draw, agreed, differences, weighted_sum

if TYPE_CHECKING:
    import torch

NO_NORM = 1e-7
"""L1 norm below which there is nothing to restore."""


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


def thinned(
    parents: Sequence["torch.Tensor"],
    base: "torch.Tensor",
    density: PerParent,
    rescale: bool,
    draw: Draw,
    compat: Compat,
    probabilities: "Callable[[torch.Tensor, int], torch.Tensor] | None" = None,
) -> list["torch.Tensor"]:
    """Differences with dropped ones at zero and the others rescaled.

    probabilities: (difference, parent) to the probability of every element to stay; by default its density.
    """
    import torch

    found = []
    for i, (delta, p) in enumerate(zip(differences(parents, base), density, strict=True)):
        if not 0 < p < 1:
            found.append(delta if p >= 1 else torch.zeros_like(delta))
            continue
        own = probabilities(delta, i) if probabilities else torch.tensor(p, dtype=torch.float64).expand(delta.shape)
        kept = delta * draw(i, own)
        found.append(rescaled(delta, kept, own.float() if probabilities else p, compat) if rescale else kept)
    return found


def rescaled(delta: "torch.Tensor", kept: "torch.Tensor", p: "float | torch.Tensor", compat: Compat) -> "torch.Tensor":
    """What was kept, made as large as what there was."""
    if compat == "published":
        return kept / p
    before, after = (float(tensor.abs().double().sum()) for tensor in (delta, kept))
    return kept if min(before, after) < NO_NORM else kept * (before / after)
