"""Maps of two networks brought to one size.

Letters: B examples, c channels, h w places; s of the student, t of the teacher.
"""

import torch.nn.functional as F
from torch import Tensor


def one_size(map_s: Tensor, map_t: Tensor) -> tuple[Tensor, Tensor]:
    """Both (B, c, h, w) averaged down to the smaller height and width."""
    size = (min(map_s.shape[2], map_t.shape[2]), min(map_s.shape[3], map_t.shape[3]))
    return pooled(map_s, size), pooled(map_t, size)


def pooled(map_: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, c, h, w) averaged to another height and width; as it is when it has them."""
    return map_ if tuple(map_.shape[2:]) == size else F.adaptive_avg_pool2d(map_, size)
