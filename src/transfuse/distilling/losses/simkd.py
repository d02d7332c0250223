"""simkd: the student's last map, through a learnt projector, is the teacher's, and the teacher's classifier answers.

Chen et al., "Knowledge Distillation with the Reused Teacher Classifier", arXiv 2203.14001: mean squared error of the
maps, no labels, no softened answers; 1×1, 3×3 and 1×1 convolutions with batch norm and ReLU, `factor` times fewer
channels in the middle. Nothing changed; the projector is a part of the finished student.

Letters: B examples, c channels, h w places; s of the student, t of the teacher.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from transfuse.distilling.losses.fitnet import Shape
from transfuse.distilling.losses.sizes import one_size


class SimKD(nn.Module):
    """Holds the projector."""

    def __init__(self, shape_s: Shape, shape_t: Shape, *, factor: int = 2) -> None:
        super().__init__()
        self.project = projector(shape_s[0], shape_t[0], factor)

    def forward(self, map_s: Tensor, map_t: Tensor) -> Tensor:
        """Mean over all elements of the squared error."""
        map_s, map_t = one_size(map_s, map_t)
        return F.mse_loss(self.project(map_s), map_t)


def projector(c_s: int, c_t: int, factor: int) -> nn.Sequential:
    """From the student's channels to the teacher's."""
    middle = max(1, c_t // factor)
    return nn.Sequential(
        nn.Conv2d(c_s, middle, 1, bias=False), nn.BatchNorm2d(middle), nn.ReLU(),
        nn.Conv2d(middle, middle, 3, padding=1, bias=False), nn.BatchNorm2d(middle), nn.ReLU(),
        nn.Conv2d(middle, c_t, 1, bias=False), nn.BatchNorm2d(c_t), nn.ReLU(),
    )  # fmt: skip
