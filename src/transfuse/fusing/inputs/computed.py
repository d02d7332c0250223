"""Tensors that are made while they are read: a folded adapter, rows in another order. Nothing of them is held.

`Computed` stands where an entry holds a tensor in memory, and has the little of a tensor that reading asks for: it is
flattened and sliced. So the engine reads it in blocks like any other, and memory stays constant. Torch is loaded only
when something is computed.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transfuse.weights.headers import Dtype, Entry
from transfuse.weights.pieces import stored

if TYPE_CHECKING:
    import torch

Make = Callable[[int, int], "torch.Tensor"]
"""(start, stop) to these elements of the flattened tensor, as float32."""


class Computed:
    """What a flattened tensor is to who reads it in pieces."""

    nbytes = 0
    """Held in memory."""

    def __init__(self, make: Make, dtype: Dtype) -> None:
        self._make, self._dtype = make, dtype

    def reshape(self, *shape: int) -> "Computed":
        """Itself: it is always flat."""
        return self

    def __getitem__(self, piece: slice) -> "torch.Tensor":
        """These elements, in the type of the entry."""
        return cast(self._make(piece.start, piece.stop), self._dtype)


def computed(entry: Entry, make: Make, *, path: Path | None = None, shape: tuple[int, ...] | None = None) -> Entry:
    """An entry like another, with numbers that are made; `path`: the file that they come from."""
    tensor: Any = Computed(make, entry.dtype)
    return replace(entry, tensor=tensor, path=path or entry.path, shape=entry.shape if shape is None else shape)


def cast(block: "torch.Tensor", dtype: Dtype) -> "torch.Tensor":
    """The block in another type; float8, which has no infinity, at its limit where a number is past it."""
    import torch

    if dtype.torch in (torch.float8_e4m3fn, torch.float8_e5m2):
        limit = torch.finfo(dtype.torch).max
        block = block.clamp(-limit, limit)  # a cast past the limit gives NaN
    return block.to(dtype.torch)


def elements(entry: Entry, start: int, stop: int) -> "torch.Tensor":
    """These elements of a flattened tensor, in its type."""
    import torch

    if entry.tensor is not None:
        return entry.tensor.reshape(-1)[start:stop]
    if start == stop:
        return torch.empty(0, dtype=entry.dtype.torch)
    return torch.from_numpy(stored(entry, start, stop)).view(entry.dtype.torch)


def whole(entry: Entry) -> "torch.Tensor":
    """All of a tensor, in its type."""
    return elements(entry, 0, entry.count).reshape(entry.shape)


def mean_of(entries: Sequence[Entry]) -> Entry:
    """The mean of one tensor of several parents; it comes from no one file."""

    def make(start: int, stop: int) -> "torch.Tensor":
        total = elements(entries[0], start, stop).double()
        for entry in entries[1:]:
            total = total + elements(entry, start, stop).double()
        return total / len(entries)

    widest = max(entries, key=lambda entry: entry.dtype.itemsize)
    return replace(computed(widest, make), path=None)
