"""Wᵀ = (Σ G)⁻¹ Σ G·Wᵀ, G = XᵀX/n of a linear layer's inputs. Jin et al., "RegMean", arXiv 2212.09849.

Off-diagonal entries of G are multiplied by `alpha` (paper: 0.9). Where Σ G is singular (an input that nobody saw) the
solution nearest to the plain mean is taken. Tensors without G are averaged. Letters: O outputs, I inputs.
"""

from collections.abc import Sequence

import torch

from transfuse.fusing.weights.shares import PerParent, require_sum


def regmean(
    parents: Sequence[torch.Tensor],
    base: torch.Tensor | None,
    *,
    statistics: Sequence[torch.Tensor],
    weight: PerParent = (1.0,),
    alpha: float = 0.9,
) -> torch.Tensor:
    """The linear layer whose outputs are nearest to those of every parent on its own data."""
    require_sum(weight)
    shares = [w / sum(weight) for w in weight]
    mean = torch.stack([w * parent.double() for w, parent in zip(shares, parents, strict=True)]).sum(dim=0)
    if not statistics:
        return mean.float()
    grams = [w * _shrunk(gram.double(), alpha) for w, gram in zip(shares, statistics, strict=True)]
    residuals = [gram @ (parent.double() - mean).T for gram, parent in zip(grams, parents, strict=True)]
    gram_II, right_IO = torch.stack(grams).sum(dim=0), torch.stack(residuals).sum(dim=0)
    return (mean + (torch.linalg.pinv(gram_II, hermitian=True) @ right_IO).T).float()


def _shrunk(gram_II: torch.Tensor, alpha: float) -> torch.Tensor:
    diagonal_II = torch.diag(torch.diagonal(gram_II))
    return alpha * gram_II + (1 - alpha) * diagonal_II
