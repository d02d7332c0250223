"""The strongest singular directions of every task, orthogonalised against each other, added. Gargiulo et al.,
"Task Singular Vectors" (TSV-M), arXiv 2412.00081.

Of every task vector the 1/T share of its singular triplets is kept; the stacked U and V are each replaced by the
nearest orthonormal matrix. Of tensors that are no matrices the mean task vector is added.
Letters: O outputs, I inputs, T tasks, K directions kept of all tasks.
"""

from collections.abc import Sequence

import torch

from transfuse.fusing.weights.vectors import differences


def tsv_m(parents: Sequence[torch.Tensor], base: torch.Tensor, *, scale: float = 1.0) -> torch.Tensor:
    """base + `scale` × U⊥·S·V⊥ᵀ."""
    deltas = differences(parents, base)
    if base.dim() != 2:
        return base + scale * torch.stack(deltas).mean(dim=0)
    triplets = [torch.linalg.svd(delta.double(), full_matrices=False) for delta in deltas]
    kept = max(1, int(min(base.shape) / len(deltas)))
    u_OK = torch.cat([u[:, :kept] for u, _, _ in triplets], dim=1)
    s_K = torch.cat([s[:kept] for _, s, _ in triplets])
    v_KI = torch.cat([v[:kept] for _, _, v in triplets])
    return base + scale * ((_nearest_orthonormal(u_OK) * s_K) @ _nearest_orthonormal(v_KI.T).T).float()


def _nearest_orthonormal(x: torch.Tensor) -> torch.Tensor:
    """The Procrustes solution P·Qᵀ of x = P·D·Qᵀ."""
    p, _, q = torch.linalg.svd(x, full_matrices=False)
    return p @ q
