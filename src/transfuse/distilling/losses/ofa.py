"""ofa: the inner maps of an unlike student are judged by the answers that they allow, not by the teacher's maps.

Hao et al., "One-for-All: Bridge the Gap Between Heterogeneous Architectures in Knowledge Distillation", arXiv
2310.19444: −Σ_c ((p_t + 1[c = y])^ε − 1[c = y])·log p_s, of the final answers and of a branch at each depth. ε from 1
to 1.5. Changed: a branch is average pooling and a linear layer.

Letters: B examples, C classes, c channels, h w places.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transfuse.distilling.losses.fitnet import Shape


class OFA(nn.Module):
    """Holds the branches."""

    def __init__(self, shapes_s: Sequence[Shape], classes: int, *, epsilon: float = 1.0) -> None:
        super().__init__()
        self.branches = nn.ModuleList(nn.Linear(shape[0], classes) for shape in shapes_s)
        self.epsilon = epsilon

    def forward(self, logits_BC: Tensor, teacher_BC: Tensor, y_B: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """The sum over the final answers and those of the branches."""
        pooled = [map_.flatten(2).mean(2) for map_ in maps]
        answers = [logits_BC, *(branch(x) for branch, x in zip(self.branches, pooled, strict=True))]
        return torch.stack([ofa(z_BC, teacher_BC, y_B, epsilon=self.epsilon) for z_BC in answers]).sum()


def ofa(logits_BC: Tensor, teacher_BC: Tensor, y_B: Tensor, *, epsilon: float = 1.0) -> Tensor:
    """The mean over examples; `epsilon` 1 is cross-entropy with the teacher's answers."""
    true_BC = F.one_hot(y_B, logits_BC.shape[1]).to(logits_BC.dtype)
    wanted_BC = (teacher_BC.softmax(1) + true_BC).pow(epsilon) - true_BC
    return -(wanted_BC * F.log_softmax(logits_BC, 1)).sum(1).mean()
