"""Which magnitudes are kept: the k-th of many without sorting, exactly, in two passes over blocks.

The bits of a positive float32 order as its value: a histogram of the upper 16 bits finds the bin of a rank, one of the
lower 16 bits within that bin the value. Ranks count from 1, the smallest first.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import torch

Blocks = Callable[[], Iterable["torch.Tensor"]]
_HALF = 1 << 16
_FEW = 1 << 16
NONE, ALL = (1.0, 0.0), (0.0, float("inf"))
"""Bounds that keep nothing, and everything."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What was learnt from the whole model before the first tensor: for methods that look beyond one tensor."""

    bounds: Mapping[tuple[int, float], tuple[float, float]]
    """By (parent, density): the magnitudes that are kept."""
    tie: float
    """The sign where a sum of differences is exactly zero."""


def ranks(method: str, options: Mapping[str, Any], parent: int, n: int) -> tuple[int, int] | None:
    """First and last rank that is kept of n magnitudes; 0 as the first keeps all up to the last, None keeps none."""
    density = float(options["density"][parent])
    if density <= 0 or n == 0:
        return None
    if method != "ties":
        return _crumbs(n, density, float(options["gamma"][parent]))
    if density >= 1:
        return 0, n
    if options["trim"] == "model":  # the authors' code: not less than the value of rank n − int(n·K)
        return n - int(n * density), n
    return n - max(1, int(density * n)) + 1, n


def _crumbs(n: int, density: float, gamma: float) -> tuple[int, int] | None:
    kept = min(n, int(density * n))
    dropped = min(int(gamma * n), n - kept)
    last = n - dropped
    return (last - kept + 1 if kept < last else 0, last) if kept else None


def bounds(blocks: Blocks, n: int, wanted: tuple[int, int] | None) -> tuple[float, float]:
    """The magnitudes at the ranks: what lies between them, both included, is kept."""
    if wanted is None:
        return NONE
    first, last = wanted
    asked = [rank for rank in (first, last) if 0 < rank < n or (rank == n and rank == first)]
    found = dict(zip(asked, magnitudes(blocks, asked), strict=True)) if asked else {}
    return found.get(first, 0.0), found.get(last, float("inf")) if last < n else float("inf")


def magnitudes(blocks: Blocks, wanted: Sequence[int]) -> list[float]:
    """The magnitude of every rank."""
    upper = np.zeros(_HALF, dtype=np.int64)
    kept: list[np.ndarray] | None = []
    for block in blocks():
        bits = _bits(block)
        upper += np.bincount(bits >> 16, minlength=_HALF)
        if kept is not None:
            kept.append(bits)
            kept = kept if sum(map(len, kept)) <= _FEW else None
    below = upper.cumsum()
    bins = [int(np.searchsorted(below, rank)) for rank in wanted]
    lower = {number: np.zeros(_HALF, dtype=np.int64) for number in bins}
    for bits in kept if kept is not None else map(_bits, blocks()):
        high = bits >> 16
        for number, counts in lower.items():
            counts += np.bincount(bits[high == number] & (_HALF - 1), minlength=_HALF)
    found = []
    for rank, number in zip(wanted, bins, strict=True):
        left = rank - (int(below[number - 1]) if number else 0)
        found.append(number << 16 | int(np.searchsorted(lower[number].cumsum(), left)))
    return [float(value) for value in np.array(found, dtype=np.int32).view(np.float32)]


def _bits(block: "torch.Tensor") -> np.ndarray:
    return block.abs().reshape(-1).contiguous().numpy().view(np.int32)
