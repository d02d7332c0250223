"""Which layer of the student answers to which of the teacher: the depths that see examples most alike.

Similarity is linear centred kernel alignment (Kornblith et al., "Similarity of Neural Network Representations
Revisited", arXiv 1905.00414) on pictures of the training split. The order of depths is kept and the last ones are a
pair.

Letters: N examples, D numbers of a map, S T depths of the student and of the teacher.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

_SIDE = 4  # places a side to which maps are averaged before they are compared


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two module paths that answer to each other."""

    student: str
    teacher: str
    similarity: float
    """0..1, before training."""


def similarity(a_ND: Tensor, b_ND: Tensor) -> float:
    """Linear CKA, 0..1, of two sets of features of the same examples; 0 where one is constant."""
    gram_a, gram_b = (_centred(x) for x in (a_ND, b_ND))
    scale = gram_a.norm() * gram_b.norm()
    return float((gram_a * gram_b).sum() / scale) if scale > 0 else 0.0


def paired(maps_s: Mapping[str, Tensor], maps_t: Mapping[str, Tensor]) -> tuple[Pair, ...]:
    """Shallow to deep, in which order both mappings are."""
    count = min(len(maps_s), len(maps_t))
    names_s, names_t = list(maps_s)[len(maps_s) - count :], list(maps_t)
    alike_ST = np.array([[similarity(_flat(maps_s[s]), _flat(maps_t[t])) for t in names_t] for s in names_s])
    choices = itertools.combinations(range(len(names_t) - 1), count - 1)
    best = max(choices, key=lambda chosen: _total(alike_ST, chosen))
    return tuple(
        Pair(student=names_s[place], teacher=names_t[chosen], similarity=float(alike_ST[place, chosen]))
        for place, chosen in enumerate((*best, len(names_t) - 1))
    )


def _total(alike_ST: np.ndarray, chosen: Sequence[int]) -> float:
    return float(sum(alike_ST[place, t] for place, t in enumerate(chosen)))


def _flat(map_: Tensor) -> Tensor:
    if map_.ndim == 4:
        map_ = F.adaptive_avg_pool2d(map_.float(), _SIDE)
    return map_.flatten(1).double()


def _centred(x_ND: Tensor) -> Tensor:
    x_ND = x_ND.double() - x_ND.double().mean(0)
    return torch.mm(x_ND, x_ND.T)
