"""fitnet: a map of the student, through a learnt regressor, equals a map of the teacher in the middle of both.

Romero et al., "FitNets: Hints for Thin Deep Nets", arXiv 1412.6550, in CRD's form: mean squared error after
convolution, batch norm and ReLU, weight 100, trained together with the student instead of before it. Changed: where no
convolution of CRD's table leads from one size to the other, the larger map is averaged down first.

Letters: B examples, c channels, h w places; s of the student, t of the teacher.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from transfuse.distilling.losses.sizes import one_size

Shape = Sequence[int]
"""(c, h, w) of a map."""


class FitNet(nn.Module):
    """Holds the regressor."""

    def __init__(self, shape_s: Shape, shape_t: Shape) -> None:
        super().__init__()
        self.regress = nn.Sequential(regressor(shape_s, shape_t), nn.BatchNorm2d(shape_t[0]), nn.ReLU())

    def forward(self, map_s: Tensor, map_t: Tensor) -> Tensor:
        """Mean over all elements of the squared error."""
        return F.mse_loss(*one_size(self.regress(map_s), map_t))


def regressor(shape_s: Shape, shape_t: Shape) -> nn.Module:
    """The convolution that leads from one size to the other."""
    (c_s, h_s, w_s), (c_t, h_t, w_t) = shape_s, shape_t
    if h_s == 2 * h_t and w_s == 2 * w_t:
        return nn.Conv2d(c_s, c_t, 3, stride=2, padding=1)
    if 2 * h_s == h_t and 2 * w_s == w_t:
        return nn.ConvTranspose2d(c_s, c_t, 4, stride=2, padding=1)
    if h_s >= h_t and w_s >= w_t and max(h_s - h_t, w_s - w_t) < 4:
        return nn.Conv2d(c_s, c_t, (1 + h_s - h_t, 1 + w_s - w_t))
    return nn.Conv2d(c_s, c_t, 1)
