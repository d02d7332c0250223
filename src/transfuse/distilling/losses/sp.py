"""sp: examples that are alike to the teacher are alike to the student.

Tung and Mori, "Similarity-Preserving Knowledge Distillation", arXiv 1907.09682: G = F·Fᵀ with normalised rows,
‖G_t − G_s‖²/B² on the last maps, weight 3000. Nothing changed.

Letters: B examples, c channels, h w places.
"""

import torch.nn.functional as F
from torch import Tensor


def sp(map_s: Tensor, map_t: Tensor) -> Tensor:
    """Maps (B, c, h, w) or features (B, D), of any two sizes."""
    return (similarity(map_t) - similarity(map_s)).pow(2).sum() / len(map_s) ** 2


def similarity(map_: Tensor) -> Tensor:
    """(B, B), rows of length 1."""
    flat_BD = map_.flatten(1)
    return F.normalize(flat_BD @ flat_BD.T)
