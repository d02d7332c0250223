"""θ(α) = (1−α)·θ_a + α·θ_b over named tensors.

Wortsman et al., "Robust fine-tuning of zero-shot models" (WiSE-FT), arXiv 2109.01903: between a source and its
fine-tuned self lies a line of networks, and points inside it often beat both ends.
"""

from collections.abc import Mapping

import torch

from transfuse.core.errors import WeightsError


def interpolate(a: Mapping[str, torch.Tensor], b: Mapping[str, torch.Tensor], alpha: float) -> dict[str, torch.Tensor]:
    """Tensors at α (0 gives `a`, 1 gives `b`) with the names of `b`.

    Accumulated in float32 and given back in the type of `b`; integer tensors (counters) and tensors that `a` lacks
    come from `b`. Raises `WeightsError` when shapes differ.
    """
    return {name: _between(name, a.get(name), tensor, alpha) for name, tensor in b.items()}


def _between(name: str, a: torch.Tensor | None, b: torch.Tensor, alpha: float) -> torch.Tensor:
    if a is None or not b.is_floating_point():
        return b.detach().clone()
    if a.shape != b.shape:
        raise WeightsError(
            f"'{name}' must have one shape on both sides, but has {tuple(a.shape)} and {tuple(b.shape)}."
        )
    if alpha in (0, 1):  # exactly the ends, whatever rounding would do
        return (b if alpha else a).detach().to(b.dtype, copy=True)
    start, end = a.detach().to(b.device, torch.float32), b.detach().to(torch.float32)
    mixed = (1 - alpha) * start + alpha * end
    return torch.where(start == end, end, mixed).to(b.dtype)  # what did not move is not moved by rounding
