"""Random masks as a function of (seed, tensor, parent, element): neither shards nor threads nor blocks change them.

Threefry-2x32 with 13 rounds (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011, the fewest that
pass all of BigCrush) is a counter-based generator: its key is what the numbers are for, its counter where they go. It
adds, turns and xors words of 32 bits and nothing else, so that any processor does many at once. In every tile of 1,024
elements the first half takes the first words of 512 counters, the second half their second words.
"""

from typing import TYPE_CHECKING

import numpy as np

from transfuse.core.randomness import key

if TYPE_CHECKING:
    import torch

    from transfuse.fusing.weights.vectors import Draw

BLOCK = 65536
"""Elements a block."""
TILE = 1024
_TURNS = (13, 15, 26, 6, 17, 29, 16, 24)


def key_of(seed: int, name: str, parent: int) -> int:
    """What the mask of a parent's tensor is drawn with."""
    return key(seed, "mask", name, parent)


def limit_of(probability: float) -> int:
    """Words below it are kept: so many of the 2**32, or one of them more where that is no whole number."""
    return int(np.ceil(probability * 2.0**32))


def drawing(seed: int, name: str, start: int = 0) -> "Draw":
    """Masks for the elements of the tensor `name` from `start` on."""
    import torch

    def draw(parent: int, probability: "torch.Tensor") -> "torch.Tensor":
        words = words_of(key_of(seed, name, parent), start, probability.numel())
        same = probability.numel() > 0 and not any(probability.stride())
        limits = probability.flatten()[:1] if same else probability.flatten()
        return torch.from_numpy(words < limits.double().numpy() * 2.0**32).reshape(probability.shape)

    return draw


def words_of(key_of: int, start: int, count: int) -> np.ndarray:
    """`count` uniform 32-bit words from element `start` on."""
    first, last = start // TILE, -(-(start + count) // TILE)
    counters = np.arange(first * TILE // 2, last * TILE // 2, dtype=np.uint64)
    halves = threefry(key_of, counters)
    words = np.stack([half.reshape(-1, TILE // 2) for half in halves], axis=1).reshape(-1)
    return words[start - first * TILE :][:count]


def threefry(key_of: int, counters: np.ndarray, rounds: int = 13) -> tuple[np.ndarray, np.ndarray]:
    """Both words of every counter."""
    keys = [np.uint32(key_of & 0xFFFFFFFF), np.uint32(key_of >> 32)]
    keys.append(np.uint32(0x1BD11BDA) ^ keys[0] ^ keys[1])
    x0 = counters.astype(np.uint32) + keys[0]
    x1 = (counters >> np.uint64(32)).astype(np.uint32) + keys[1]
    for i in range(rounds):
        turn = _TURNS[i % 8]
        x0 += x1
        x1 = (x1 << np.uint32(turn) | x1 >> np.uint32(32 - turn)) ^ x0
        if i % 4 == 3:
            x0 += keys[(i // 4 + 1) % 3]
            x1 += keys[(i // 4 + 2) % 3]
            x1 += np.uint32(i // 4 + 1)
    return x0, x1
