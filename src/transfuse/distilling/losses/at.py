"""at: the student looks where the teacher looks.

Zagoruyko and Komodakis, "Paying More Attention to Attention", arXiv 1612.03928, as in CRD's and DKD's code: a map's
attention is the mean over channels of its squares, as one normalised vector; the mean squared difference (over B·h·w,
not the paper's norm), summed over depths, weight 1000. The larger map is averaged down. Nothing else changed.

Letters: B examples, c channels, h w places.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from transfuse.distilling.losses.sizes import one_size


def at(maps: Sequence[Tensor], teacher_maps: Sequence[Tensor]) -> Tensor:
    """Maps (B, c, h, w) in pairs, shallow to deep."""
    pairs = (one_size(map_s, map_t) for map_s, map_t in zip(maps, teacher_maps, strict=True))
    return torch.stack([F.mse_loss(attention(map_s), attention(map_t)) for map_s, map_t in pairs]).sum()


def attention(map_: Tensor) -> Tensor:
    """(B, h·w), rows of length 1."""
    return F.normalize(map_.pow(2).mean(1).flatten(1))
