"""ctkd: `kd` at a temperature that is learnt against the student, softly at first.

Li et al., "Curriculum Temperature for Knowledge Distillation", arXiv 2211.16231, the global temperature:
T = 1 + 20·σ(θ), θ = 1 at the start; θ climbs the loss, for its gradient is multiplied by λ, a cosine from 0 to −1.
Changed: λ falls over the same share of any training as 10 of the paper's 240 epochs.

Letters: B examples, C classes.
"""

import math

import torch
from torch import Tensor, nn

from transfuse.distilling.losses.kd import kd

_LOWEST, _SPAN = 1.0, 20.0


class CTKD(nn.Module):
    """Holds θ."""

    def __init__(self, *, falling: float = 1 / 24) -> None:
        """`falling` is the share (0..1) of the training after which λ is −1."""
        super().__init__()
        self.theta = nn.Parameter(torch.ones(1))
        self.falling = falling

    def forward(self, logits_BC: Tensor, teacher_BC: Tensor, share: float = 1.0) -> Tensor:
        """T²·KL at the present temperature; `share` (0..1) is how much of the training is over."""
        return self.at(logits_BC, teacher_BC, reversal(share / self.falling if self.falling else 1.0))

    def at(self, logits_BC: Tensor, teacher_BC: Tensor, factor: float) -> Tensor:
        """The loss, of which θ gets `factor` times the gradient."""
        theta = factor * self.theta + (1 - factor) * self.theta.detach()
        temperature = _LOWEST + _SPAN * theta.sigmoid()
        return (temperature**2 * kd(logits_BC / temperature, teacher_BC / temperature, temperature=1.0)).sum()


def reversal(progress: float) -> float:
    """λ: 0 at progress 0, −1 from progress 1 on.

    >>> reversal(0.0), round(reversal(0.5), 6), reversal(2.0)
    (0.0, -0.5, -1.0)
    """
    return (math.cos(math.pi * min(progress, 1.0)) - 1) / 2
