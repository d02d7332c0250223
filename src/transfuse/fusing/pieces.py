"""Tensors of files read in blocks, files opened once, and digests of what was read on the way.

A digest is XXH3 of 128 bits over type, shape and bytes: as fast as memory. It tells whether weights are still those
that were merged, after an accident; somebody who forges weights can forge the record beside them as well.
"""

import os
import threading
from pathlib import Path

import numpy as np
import xxhash

from transfuse.core.errors import WeightsError
from transfuse.fusing.planning import Work
from transfuse.weights.headers import Dtype, Entry

_PIECE = 1 << 16
NOT_FINITE = "Every number of a parent must be finite, but one is NaN or infinite."


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


class Stream:
    """One tensor of a parent, flat, as it is stored; its digest is taken while it is read for the first time."""

    def __init__(self, entry: Entry, files: Files) -> None:
        self.entry = entry
        self._handle = files.handle(entry.path) if entry.tensor is None and entry.path is not None else -1
        self._digest = hasher(entry.dtype, entry.shape)
        self._seen = 0

    def into(self, buffer: np.ndarray, start: int, stop: int) -> np.ndarray:
        """These elements, in the first bytes of a buffer. Raises `WeightsError` when the file became shorter."""
        size = self.entry.dtype.itemsize
        data = buffer[: (stop - start) * size]
        if self.entry.tensor is not None:
            import torch  # which made the tensor

            data[:] = self.entry.tensor.reshape(-1)[start:stop].view(torch.uint8).numpy()
        else:
            self._read(data.data, self.entry.start + start * size)
        if start == self._seen:
            self._digest.update(data.data)
            self._seen = stop
        return data

    def _read(self, data: memoryview, place: int) -> None:
        while data:
            got = os.preadv(self._handle, [data], place)
            if not got:
                raise WeightsError(f"'{self.entry.path}' became shorter while it was read. Fetch it again.")
            place, data = place + got, data[got:]

    def elements(self, start: int, stop: int) -> np.ndarray:
        """These elements as bytes of their own."""
        return self.into(np.empty((stop - start) * self.entry.dtype.itemsize, dtype=np.uint8), start, stop)

    def digest(self) -> str:
        """The digest of the whole tensor; what was not read yet is read now."""
        while self._seen < self.entry.count:
            self.elements(self._seen, min(self._seen + _PIECE, self.entry.count))
        return self._digest.hexdigest()

    def told(self, error: WeightsError) -> WeightsError:
        """The error with the place of the tensor before it."""
        return WeightsError(f"'{self.entry.name}' of '{self.entry.path}': {error}")


def streams_of(work: Work, files: Files) -> list[Stream]:
    """The tensor of every parent, and of the base last when there is one."""
    return [Stream(entry, files) for entry in (*work.entries, *([work.base] if work.base else []))]


def hasher(dtype: Dtype, shape: tuple[int, ...]) -> xxhash.xxh3_128:
    """A digest that waits for the bytes of a tensor."""
    return xxhash.xxh3_128(f"{dtype.code} {'x'.join(map(str, shape))}\n".encode())


def digest_of(entry: Entry) -> str:
    """The digest of a tensor, read in constant memory."""
    files = Files()
    try:
        return Stream(entry, files).digest()
    finally:
        files.close()


def elements_of(entry: Entry) -> np.ndarray:
    """A whole tensor as bytes."""
    files = Files()
    try:
        return Stream(entry, files).elements(0, entry.count)
    finally:
        files.close()


def floats(data: np.ndarray, dtype: Dtype) -> np.ndarray:
    """Bytes as float32. Raises `WeightsError` when a number is not finite."""
    if dtype.name == "bfloat16":
        found = (data.view("<u2").astype(np.uint32) << np.uint32(16)).view(np.float32)
    elif dtype.name in ("float64", "float32", "float16"):
        found = data.view(dtype.name).astype(np.float32)
    else:
        import torch

        found = torch.from_numpy(data).view(getattr(torch, dtype.name)).float().numpy()
    if not np.isfinite(found).all():
        raise WeightsError(NOT_FINITE)
    return found
