"""What several methods share: differences to the base, the election of signs.

Every tensor of one call has one shape. Here, in `ties` and in `dare` torch is imported by what computes, not by the
module: their signatures are read too where the compiled kernels do the work, and loading torch costs more than that.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from transfuse.fusing.weights.shares import PerParent

if TYPE_CHECKING:
    import torch

Draw = Callable[[int, "torch.Tensor"], "torch.Tensor"]
"""(parent, probabilities) to a mask of the same shape that is True with these probabilities."""


def differences(parents: Sequence["torch.Tensor"], base: "torch.Tensor") -> list["torch.Tensor"]:
    """The task vectors x − base."""
    return [parent - base for parent in parents]


def weighted_sum(tensors: Sequence["torch.Tensor"], weight: PerParent) -> "torch.Tensor":
    """Σ w·x, in the order of the parents."""
    total = tensors[0] * weight[0]
    for tensor, w in zip(tensors[1:], weight[1:], strict=True):
        total.add_(tensor * w)  # rounded before it is added: opposites cancel exactly
    return total


def agreed(tensors: Sequence["torch.Tensor"], weight: PerParent, *, normalize: bool, tie: float) -> "torch.Tensor":
    """Σ of the w·x whose sign is that of Σ w·x; `normalize` divides by the sum of their weights, zeros not counted.

    `tie` is the sign where the sum is exactly zero.
    """
    scaled = [tensor * w for tensor, w in zip(tensors, weight, strict=True)]
    total = weighted_sum(tensors, weight)
    sign = (total >= 0 if tie > 0 else total > 0).float().mul_(2).sub_(1)
    kept, divisor = total.zero_(), total.clone() if normalize else None
    for x, w in zip(scaled, weight, strict=True):
        along = x.mul_(sign).clamp_(min=0)  # its size where it agrees, else 0: no masks, which torch turns into floats
        kept.add_(along)
        if divisor is not None:
            divisor.add_(along.sign_(), alpha=w)
    kept.mul_(sign)
    if divisor is None:
        return kept
    divisor.masked_fill_(divisor.abs() < 1e-8, 1.0)
    return kept.div_(divisor)
