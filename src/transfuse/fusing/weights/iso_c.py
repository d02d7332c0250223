"""All singular values of Σ task vectors made equal. Marczak et al., "No task left behind" (Iso-C), arXiv 2502.04959.

Matrices only; of other tensors the mean task vector is added, as published.
Letters: O outputs, I inputs, K = min(O, I).
"""

from collections.abc import Sequence

import torch

from transfuse.fusing.weights.vectors import differences


def iso_c(parents: Sequence[torch.Tensor], base: torch.Tensor, *, scale: float = 1.0) -> torch.Tensor:
    """base + `scale` × (mean singular value) × U·Vᵀ."""
    deltas = differences(parents, base)
    total = torch.stack(deltas).sum(dim=0)
    if base.dim() != 2:
        return base + scale * total / len(deltas)
    u_OK, s_K, v_KI = torch.linalg.svd(total.double(), full_matrices=False)
    rank = int((s_K > s_K[0] * 1e-12).sum())  # directions that no parent has are not made up
    return base + scale * (float(s_K.mean()) * (u_OK[:, :rank] @ v_KI[:rank])).float()
