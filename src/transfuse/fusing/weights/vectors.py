"""What several methods share: differences to the base, the election of signs, weights that can be divided by.

Letters: P parents; every tensor of one call has one shape.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch

from transfuse.core.errors import UsageError

PerParent = Sequence[float]
"""One number for each parent; a default of one number is everybody's."""
Draw = Callable[[int, torch.Tensor], torch.Tensor]
"""(parent, probabilities) to a mask of the same shape that is True with these probabilities."""


def differences(parents: Sequence[torch.Tensor], base: torch.Tensor) -> list[torch.Tensor]:
    """The task vectors x − base."""
    return [parent - base for parent in parents]


def shares(weight: PerParent, normalize: bool) -> np.ndarray:
    """The weights, divided by their sum when that is asked for. Raises `UsageError` for a sum of zero."""
    weight_P = np.asarray(weight, dtype=np.float64)
    if not normalize:
        return weight_P
    require_sum(weight)
    return weight_P / weight_P.sum()


def require_sum(weight: PerParent) -> None:
    """Raise `UsageError` when the weights add up to nothing, and dividing by their sum would give infinities."""
    if abs(sum(weight)) < 1e-8 * max(1.0, *(abs(w) for w in weight)):
        raise UsageError(
            f"`weight` must have a sum other than 0, but is {list(weight)}. Change a weight, or set normalize=false."
        )


def weighted_sum(tensors: Sequence[torch.Tensor], weight: PerParent) -> torch.Tensor:
    """Σ w·x, in the order of the parents."""
    total = torch.zeros_like(tensors[0])
    for tensor, w in zip(tensors, weight, strict=True):
        total.add_(tensor, alpha=w)
    return total


def agreed(tensors: Sequence[torch.Tensor], weight: PerParent, *, normalize: bool, tie: float) -> torch.Tensor:
    """Σ of the w·x whose sign is that of Σ w·x; `normalize` divides by the sum of their weights, zeros not counted.

    `tie` is the sign where the sum is exactly zero.
    """
    scaled = [tensor * w for tensor, w in zip(tensors, weight, strict=True)]
    total = weighted_sum(tensors, weight)
    sign = (total >= 0 if tie > 0 else total > 0).float().mul_(2).sub_(1)
    kept, divisor = total.zero_(), torch.zeros_like(total) if normalize else None
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
