"""Drop And REscale. Yu et al., "Language Models are Super Mario", arXiv 2311.03099.

Every difference is kept with probability `density`. Published: what is kept is divided by the density; mergekit: by the
share of the L1 norm that is left (not at all when nothing is). `dare_linear` and `dare_ties` put it before task
arithmetic and before the election of signs.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from transfuse.fusing.weights.methods import Compat
from transfuse.fusing.weights.shares import PerParent
from transfuse.fusing.weights.vectors import Draw, differences

if TYPE_CHECKING:
    import torch


def thinned(
    parents: Sequence["torch.Tensor"],
    base: "torch.Tensor",
    density: PerParent,
    rescale: bool,
    draw: Draw,
    compat: Compat,
) -> list["torch.Tensor"]:
    """Differences with dropped ones at zero and the others rescaled."""
    import torch

    found = []
    for i, (delta, p) in enumerate(zip(differences(parents, base), density, strict=True)):
        if p >= 1:
            found.append(delta)
        elif p <= 0:
            found.append(torch.zeros_like(delta))
        else:
            mask = draw(i, torch.tensor(p, dtype=torch.float64).expand(delta.shape))
            kept = delta * mask.to(delta.dtype)
            found.append(rescaled(delta, kept, p, compat) if rescale else kept)
    return found


def rescaled(delta: "torch.Tensor", kept: "torch.Tensor", p: "float | torch.Tensor", compat: Compat) -> "torch.Tensor":
    """What was kept, made as large as what there was."""
    if compat == "published":
        return kept / p
    before, after = (float(tensor.abs().double().sum()) for tensor in (delta, kept))
    return kept if min(before, after) < 1e-7 else kept * (before / after)
