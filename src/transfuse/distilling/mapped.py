"""A teacher's network, asked about the classes, labels or columns that the task shares with it.

One of the task's classes may be several of the teacher's: their probabilities add up, so its logit is the log-sum-exp
of theirs. It is taken at the teacher's own temperature τ, where its probabilities are calibrated, and before any
temperature of distillation, which would count a class once more for each of its parts: z = τ·log Σ exp(z_k / τ).
Classes that are left out leave the conditional distribution over the rest, for a softmax over fewer logits is just
that. Labels that do not exclude each other hold when any of theirs does, at least as surely as the surest: the maximum.
Numbers come in the task's standardised units, whatever the teacher's were.

Letters: B examples, P the teacher's own outputs, S shared classes, K the teacher's classes in one of the task's.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from transfuse.core.nouns import Kind

Scale = tuple[Sequence[float], Sequence[float]]
"""Mean and deviation of each target column."""


class Mapped(nn.Module):
    """(B, ...) to (B, S)."""

    own_SK: Tensor
    outside_SK: Tensor

    def __init__(self, of: nn.Module, own: Sequence[Sequence[int]], kind: Kind, temperature: float) -> None:
        super().__init__()
        self.of, self.kind = of, kind
        most = max(len(places) for places in own)
        padded = torch.tensor([[*places, *[-1] * (most - len(places))] for places in own])
        self.register_buffer("own_SK", padded.clamp(min=0))
        self.register_buffer("outside_SK", padded < 0)
        self.register_buffer("temperature", torch.tensor(float(temperature)))

    def forward(self, x: Tensor) -> Tensor:
        own_BSK = self.of(x).float()[:, self.own_SK]
        if self.own_SK.shape[1] == 1:
            return own_BSK.squeeze(2)
        own_BSK = own_BSK.masked_fill(self.outside_SK, -torch.inf)
        if self.kind == "multi-label":
            return own_BSK.amax(2)
        return self.temperature * (own_BSK / self.temperature).logsumexp(2)


class Rescaled(nn.Module):
    """Values in one standardised unit to those in another."""

    def __init__(self, of: nn.Module, given: Scale | None, wanted: Scale) -> None:
        super().__init__()
        self.of = of
        mean, deviation = (torch.tensor(part, dtype=torch.float64) for part in given or ([0.0], [1.0]))
        mean_C, deviation_C = (torch.tensor(part, dtype=torch.float64) for part in wanted)
        self.register_buffer("gain", (deviation / deviation_C).float())
        self.register_buffer("offset", ((mean - mean_C) / deviation_C).float())

    def forward(self, x: Tensor) -> Tensor:
        return self.of(x).float() * self.gain + self.offset
