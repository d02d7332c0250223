"""mgd: from a map of the student with some channels missing, the teacher's whole map can be made.

Yang et al., "Masked Generative Distillation", arXiv 2205.01529, for classification: each channel is left out with
probability 0.15, two 3×3 convolutions make the teacher's map, the sum of squared errors over B, weight 7e-5. Changed:
the larger map is averaged down first.

Letters: B examples, c channels, h w places.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transfuse.distilling.losses.fitnet import Shape
from transfuse.distilling.losses.sizes import one_size


class MGD(nn.Module):
    """Holds what makes the map."""

    def __init__(self, shape_s: Shape, shape_t: Shape, *, missing: float = 0.15) -> None:
        """`missing` (0..1) is the probability of a channel to be left out."""
        super().__init__()
        c_s, c_t = shape_s[0], shape_t[0]
        self.missing = missing
        self.align = nn.Identity() if c_s == c_t else nn.Conv2d(c_s, c_t, 1)
        self.generate = nn.Sequential(nn.Conv2d(c_t, c_t, 3, padding=1), nn.ReLU(), nn.Conv2d(c_t, c_t, 3, padding=1))

    def forward(self, map_s: Tensor, map_t: Tensor) -> Tensor:
        """The sum of squared errors over B."""
        map_s, map_t = one_size(map_s, map_t)
        return self.made(map_s, map_t, torch.rand(*map_t.shape[:2], 1, 1, device=map_t.device))

    def made(self, map_s: Tensor, map_t: Tensor, random_Bc11: Tensor) -> Tensor:
        """The same, of channels whose random number is below `missing` nothing is seen."""
        seen = self.align(map_s) * (random_Bc11 >= self.missing)
        return F.mse_loss(self.generate(seen), map_t, reduction="sum") / len(map_s)
