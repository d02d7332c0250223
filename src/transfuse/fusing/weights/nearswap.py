"""Towards the second parent where the two are near: w = clip(t/|a − b|, 0, 1), out = w·b + (1−w)·a.

QuartetAnemoi-70B's method, https://huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001; both `compat` agree.
"""

from collections.abc import Sequence

import torch


def nearswap(parents: Sequence[torch.Tensor], base: torch.Tensor | None, *, t: float = 1e-4) -> torch.Tensor:
    """The first parent, with what differs by less than `t` taken from the second."""
    a, b = parents
    share = (t / (a - b).abs().clamp_(min=1e-6)).clamp_(0, 1)
    return share * b + (1 - share) * a
