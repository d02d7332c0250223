"""Random masks as a function of (seed, tensor, parent, element): neither shards nor threads nor blocks change them.

Philox (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) is a counter-based generator: its
counter is the number of the block of 65,536 elements, its key what the numbers are for.
"""

import numpy as np
import torch

from transfuse.core.randomness import key
from transfuse.fusing.weights.vectors import Draw

BLOCK = 65536
"""Elements a block."""


def drawing(seed: int, name: str, start: int = 0) -> Draw:
    """Masks for the elements of the tensor `name` from `start` on."""

    def draw(parent: int, probability: torch.Tensor) -> torch.Tensor:
        words = words_of(key(seed, "mask", name, parent), start, probability.numel())
        same = probability.numel() > 0 and not any(probability.stride())
        limits = probability.flatten()[:1] if same else probability.flatten()
        limit = limits.double().numpy() * 2.0**32
        if same and limit[0] <= 2.0**32 - 1:
            limit = np.ceil(limit).astype(np.uint32)  # the same answers, compared as they are
        return torch.from_numpy(words < limit).reshape(probability.shape)

    return draw


def words_of(key_of: int, start: int, count: int) -> np.ndarray:
    """`count` uniform 32-bit words from element `start` on."""
    first, last = start // BLOCK, -(-(start + count) // BLOCK)
    blocks = [
        np.random.Philox(key=key_of, counter=block << 64).random_raw(BLOCK // 2).astype("<u8", copy=False).view("<u4")
        for block in range(first, last)
    ]
    words = np.concatenate(blocks) if blocks else np.zeros(0, dtype=np.uint32)
    return words[start - first * BLOCK :][:count]
