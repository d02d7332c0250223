"""How the losses of several tasks on one trunk become the one that the loop minimises.

A balance is a module beside the network: what it learns moves in the same steps, is in the same checkpoints, and is
left behind when training ends. It is called with the tasks' losses and a weight that all of them use.

Letters: T tasks.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from transfuse.core.nouns import Kind

Balancing = Literal["uncertainty", "gradnorm", "equal"]
ASYMMETRY = 1.5
"""GradNorm's alpha: how strongly tasks that learn slowly are pulled along (the paper's value for rooms, NYUv2)."""


class Equal(nn.Module):
    """The sum of the losses."""

    def forward(self, losses_T: Tensor, shared: Tensor) -> Tensor:
        return losses_T.sum()

    def weights(self) -> list[float] | None:
        """What each loss counts at last; None when nothing is learnt."""
        return None


class Uncertainty(nn.Module):
    """Every task learns its own noise σ², by which its loss is divided (Kendall et al., arXiv 1705.07115, section 3).

    s = log σ² is learnt, which keeps σ² positive: exp(-s) L + s/2 of cross-entropies, half of the first term of
    squared errors (the paper's equations 7 and 10). At its best s is log 2L and log L.
    """

    factor_T: Tensor

    def __init__(self, kinds: Sequence[Kind]) -> None:
        super().__init__()
        self.log_variance_T = nn.Parameter(torch.zeros(len(kinds)))
        factors = [0.5 if kind == "regression" else 1.0 for kind in kinds]
        self.register_buffer("factor_T", torch.tensor(factors), persistent=False)

    def forward(self, losses_T: Tensor, shared: Tensor) -> Tensor:
        return (self.factor_T * (-self.log_variance_T).exp() * losses_T + self.log_variance_T / 2).sum()

    def weights(self) -> list[float]:
        """What each loss counts at last."""
        return (self.factor_T * (-self.log_variance_T.detach()).exp()).tolist()


class GradNorm(nn.Module):
    """Weights by which every task's gradient is as long as its pace asks for (Chen et al., arXiv 1711.02257).

    |w g - mean(w g) r^α|, summed, is minimised over the weights w alone: g is the length of a task's gradient at a
    shared weight, r how much of its first loss is left against the mean of all tasks. Changed: w = T softmax(v), which
    keeps the sum of the weights where the paper rescales after each step; the first losses are those of knowing
    nothing (the paper's log C), since heads do not start at random here; the sum is divided by the mean length, so
    that clipping, which sees all gradients, does not ask in which units a loss is.
    """

    first_T: Tensor

    def __init__(self, first: Sequence[float]) -> None:
        super().__init__()
        self.logit_T = nn.Parameter(torch.zeros(len(first)))
        self.register_buffer("first_T", torch.tensor(first), persistent=False)

    def forward(self, losses_T: Tensor, shared: Tensor) -> Tensor:
        lengths_T = torch.stack([torch.autograd.grad(loss, shared, retain_graph=True)[0].norm() for loss in losses_T])
        return (self._weights_T().detach() * losses_T).sum() + self.imbalance(losses_T.detach(), lengths_T)

    def imbalance(self, losses_T: Tensor, lengths_T: Tensor) -> Tensor:
        """How far the gradients' lengths are from what they should be; depends on the weights only."""
        weighted_T = self._weights_T() * lengths_T
        mean = weighted_T.detach().mean().clamp_min(torch.finfo(torch.float32).tiny)
        left_T = losses_T / self.first_T
        pace_T = left_T / left_T.mean().clamp_min(torch.finfo(torch.float32).tiny)
        return (weighted_T - mean * pace_T**ASYMMETRY).abs().sum() / mean

    def weights(self) -> list[float]:
        """What each loss counts at last."""
        return self._weights_T().detach().tolist()

    def _weights_T(self) -> Tensor:
        return len(self.logit_T) * self.logit_T.softmax(0)


Balance = Equal | Uncertainty | GradNorm


def balance_of(name: Balancing, kinds: Sequence[Kind], first: Sequence[float]) -> Balance:
    """The balance of that name for tasks of these kinds; `first` are the losses of knowing nothing."""
    if len(kinds) < 2 or name == "equal":
        return Equal()
    return Uncertainty(kinds) if name == "uncertainty" else GradNorm(first)
