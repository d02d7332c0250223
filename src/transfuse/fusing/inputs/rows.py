"""A tensor with one row for every token, its rows in the order of another vocabulary, made while it is read.

Letters: V tokens of the result, K numbers of one token.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from transfuse.fusing.inputs.computed import computed, elements
from transfuse.weights.headers import Entry

Row = tuple[Entry, int]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Where every row comes from."""

    own_V: np.ndarray
    """int64: the row in the parent itself, -1 where it has none."""
    others: Mapping[int, Sequence[Row]]
    """By row of the result: rows of other parents, of which the mean is taken; of none it is zero."""


def reordered(entry: Entry, rows: Rows) -> Entry:
    """The tensor with V rows."""
    width = entry.count // max(1, entry.shape[0])
    shape = (len(rows.own_V), *entry.shape[1:])

    def make(start: int, stop: int) -> torch.Tensor:
        first, last = start // width, -(-stop // width)
        block_VK = torch.zeros(last - first, width)
        own = rows.own_V[first:last]
        for begin, end in _runs(own):
            there = int(own[begin])
            read = elements(entry, there * width, (there + end - begin) * width)
            block_VK[begin:end] = read.float().reshape(end - begin, width)
        for place in np.flatnonzero(own < 0).tolist():
            sources = rows.others.get(first + place, ())
            for other, row in sources:
                block_VK[place] += elements(other, row * width, (row + 1) * width).float() / len(sources)
        return block_VK.reshape(-1)[start - first * width : stop - first * width]

    return computed(entry, make, shape=shape)


def _runs(own: np.ndarray) -> list[tuple[int, int]]:
    """Places that hold consecutive rows of the parent, so that one read gets them."""
    breaks = np.flatnonzero(np.diff(own) != 1) + 1
    edges = [0, *breaks.tolist(), len(own)]
    return [(a, b) for a, b in itertools.pairwise(edges) if a < b and own[a] >= 0]
