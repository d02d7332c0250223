"""Select, Calculate, Erase. Wan et al., "FuseChat" (SCE), arXiv 2408.07990; both `compat` agree.

Elements whose task vectors vary most are selected, parents are weighted by the energy of what was selected, entries
against the elected sign (of a plain sum; a sign of zero is positive) are erased.
"""

from collections.abc import Sequence

import torch

from transfuse.fusing.weights.vectors import differences


def sce(parents: Sequence[torch.Tensor], base: torch.Tensor, *, select_topk: float = 1.0) -> torch.Tensor:
    """base + the weighted mean of what is left. `select_topk`: share of the varying elements that is kept, 0..1."""
    deltas = torch.stack(differences(parents, base))
    if select_topk < 1:
        deltas = deltas * _varying(deltas, select_topk)
    energy = deltas.double().square().flatten(1).mean(dim=1)
    weight = energy / energy.sum() if energy.sum() >= 1e-6 else torch.full_like(energy, 1 / len(energy))
    sign = torch.where(deltas.sum(dim=0) >= 0, 1.0, -1.0)
    mask = deltas.sign() == sign
    weighted = weight.float().reshape(-1, *[1] * base.dim()) * mask
    return base + (weighted * deltas).sum(dim=0) / weighted.sum(dim=0).clamp_(min=1e-6)


def _varying(deltas: torch.Tensor, share: float) -> torch.Tensor:
    """The elements of largest variance over the parents; equal ones stay or go together."""
    variance = deltas.var(dim=0, unbiased=False)
    count = int(int((variance != 0).sum()) * share)
    if count == 0:
        return torch.zeros_like(variance, dtype=torch.bool)
    return variance >= variance.flatten().kthvalue(variance.numel() - count + 1).values
