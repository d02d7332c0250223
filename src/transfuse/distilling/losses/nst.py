"""nst: the channels of a map fire together as the teacher's do, whichever channel it is.

Huang and Wang, "Like What You Like: Knowledge Distill via Neuron Selectivity Transfer", arXiv 1707.01219: squared
maximum mean discrepancy under the kernel ⟨a, b⟩² of channels as normalised vectors over places, summed over depths,
weight 50. Changed: ⟨a, b⟩² is a matrix product, not an array of B·c·c·h·w products.

Letters: B examples, c channels, h w places.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from transfuse.distilling.losses.sizes import one_size


def nst(maps: Sequence[Tensor], teacher_maps: Sequence[Tensor]) -> Tensor:
    """Maps (B, c, h, w) in pairs, shallow to deep."""
    pairs = (one_size(map_s, map_t) for map_s, map_t in zip(maps, teacher_maps, strict=True))
    return torch.stack([_discrepancy(map_s, map_t) for map_s, map_t in pairs]).sum()


def _discrepancy(map_s: Tensor, map_t: Tensor) -> Tensor:
    s, t = (F.normalize(m.flatten(2), dim=2) for m in (map_s, map_t))
    return _kernel(t, t) + _kernel(s, s) - 2 * _kernel(s, t)


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.transpose(1, 2)).pow(2).mean()
