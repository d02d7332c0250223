"""Tensors of files read in blocks, as float32, and files opened once."""

import os
import threading
from pathlib import Path

import numpy as np
import torch

from transfuse.core.errors import WeightsError
from transfuse.fusing.planning import Work
from transfuse.fusing.weights.merging import Operands, Read, finite
from transfuse.weights.headers import Entry


class Files:
    """Open files by path, shared by threads: reading names its place, so there is no common position."""

    def __init__(self) -> None:
        self._handles: dict[Path, int] = {}
        self._lock = threading.Lock()

    def handle(self, path: Path) -> int:
        """The descriptor of a file that is open for reading."""
        with self._lock:
            if path not in self._handles:
                self._handles[path] = os.open(path, os.O_RDONLY)
            return self._handles[path]

    def close(self) -> None:
        """Close all of them."""
        for handle in self._handles.values():
            os.close(handle)
        self._handles.clear()

    def elements(self, entry: Entry, start: int, stop: int) -> torch.Tensor:
        """These elements of a tensor, flat, as they are stored. Raises `WeightsError` when its file became shorter."""
        if entry.tensor is not None:
            return entry.tensor.reshape(-1)[start:stop]
        assert entry.path is not None
        size = entry.dtype.itemsize
        buffer = np.empty((stop - start) * size, dtype=np.uint8)
        place, handle = 0, self.handle(entry.path)
        while place < len(buffer):
            got = os.preadv(handle, [memoryview(buffer.data)[place:]], entry.start + start * size + place)
            if not got:
                raise WeightsError(f"'{entry.path}' became shorter while it was read. Fetch it again.")
            place += got
        return torch.from_numpy(buffer).view(entry.dtype)

    def reading(self, entry: Entry) -> Read:
        """A tensor in blocks of float32; raises `WeightsError` when a number is not finite."""

        def read(start: int, stop: int) -> torch.Tensor:
            try:
                return finite(self.elements(entry, start, stop).to(torch.float32, copy=entry.tensor is not None))
            except WeightsError as error:
                where = entry.path or "a torch file"
                raise WeightsError(f"'{entry.name}' of '{where}': {error}") from None

        return read

    def operands(self, work: Work) -> Operands:
        """One tensor of every parent."""
        return Operands(
            name=work.name,
            shape=work.shape,
            parents=tuple(self.reading(entry) for entry in work.entries),
            base=self.reading(work.base) if work.base else None,
            statistics=tuple(self.elements(s, 0, s.count).reshape(s.shape) for s in work.statistics),
        )
