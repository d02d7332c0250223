"""rkd: distances and angles between examples are those that the teacher sees.

Park et al., "Relational Knowledge Distillation", arXiv 1904.05068: Huber's loss of distances over their mean (weight
25) and of the cosines of angles (weight 50). Changed: one example has no relations, so its loss is 0, where the
reference gives NaN.

Letters: B examples, D E features.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

_EPSILON = 1e-12


def rkd(features_BD: Tensor, teacher_BE: Tensor, *, distance: float = 25.0, angle: float = 50.0) -> Tensor:
    """`distance` and `angle` weigh the two."""
    if len(features_BD) < 2:
        return features_BD.sum() * 0
    apart = F.smooth_l1_loss(relative(distances(features_BD)), relative(distances(teacher_BE)))
    turned = F.smooth_l1_loss(angles(features_BD), angles(teacher_BE))
    return distance * apart + angle * turned


def distances(x_BD: Tensor) -> Tensor:
    """Euclidean, (B, B), 0 on the diagonal."""
    squares_B = x_BD.pow(2).sum(1)
    squared_BB = squares_B[:, None] + squares_B[None, :] - 2 * x_BD @ x_BD.T
    other_BB = 1 - torch.eye(len(x_BD), dtype=x_BD.dtype, device=x_BD.device)
    return squared_BB.clamp(min=_EPSILON).sqrt() * other_BB


def relative(d_BB: Tensor) -> Tensor:
    """Over the mean of the positive ones."""
    return d_BB / d_BB[d_BB > 0].mean()


def angles(x_BD: Tensor) -> Tensor:
    """Cosine of the angle at each example between each two, (B·B·B,)."""
    to_BBD = F.normalize(x_BD[None] - x_BD[:, None], dim=2)
    return (to_BBD @ to_BBD.transpose(1, 2)).flatten()
