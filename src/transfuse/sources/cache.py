"""The cache of features: one memory-mapped `.npy` for each distinct computation.

A file is called after the digest of everything that its contents depend on. It ends in a footer that NumPy ignores:
a description and the checksum of it and of all bytes before it. So one file is one atomic unit: a killed writer
leaves nothing under its name, two processes may write it at once, and a changed byte is noticed when it is opened.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from transfuse.core import digests
from transfuse.core.atomic import sweep_all, writing_file
from transfuse.core.errors import StorageError
from transfuse.core.places import cache_folder

_MAGIC = b"TRANSFUSE FEATS\n"
_CHUNK = 2**24  # bytes

Fill = Callable[[Sequence[np.memmap]], Mapping[str, Any]]
"""Writes every row of the arrays and gives what is to be remembered with them."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """An array that is to be written."""

    path: Path
    shape: tuple[int, ...]
    description: Mapping[str, Any]
    dtype: str = "float32"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One cached array."""

    path: Path
    bytes: int
    description: Mapping[str, Any]
    """Source, task, split, depth, precision, shape; empty for a file that is broken."""


def path_of(folder: Path, identity: Mapping[str, Any]) -> Path:
    """Where the array of this identity lies: everything its contents depend on, as plain values."""
    return folder / "features" / f"{digests.of_value(identity)}.npy"


def words_folder() -> Path:
    """Where `builtin:words` keeps what it learnt of each task's texts."""
    return cache_folder() / "words"


_READINGS = 20
"""Times that a file is read again because another process replaced it meanwhile."""


def opened(path: Path) -> tuple[np.ndarray, dict[str, Any]] | None:
    """The array, memory-mapped read-only, and its description; None when it is not there or is corrupt.

    Every byte is read to compare the checksum (about 1 s for 1.5 GB), once for each process and file.
    """
    for _ in range(_READINGS):
        before = _version(path)
        with contextlib.suppress(OSError, ValueError, KeyError, EOFError):
            description = _checked(path)
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            if before == _version(path):
                return array, description
            continue
        if before == _version(path):
            break
    return None


def _version(path: Path) -> tuple[int, int] | None:
    """Which file lies at the path: another process may replace it while it is read."""
    with contextlib.suppress(OSError):
        status = path.stat()
        return status.st_ino, status.st_mtime_ns
    return None


def written(planned: Sequence[Planned], fill: Fill) -> list[tuple[np.ndarray, dict[str, Any]]]:
    """Create the arrays, let `fill` write all of them, and open them.

    The room is taken before the work begins. Raises `StorageError` when there is none; nothing is left behind then.
    """
    for folder in {plan.path.parent for plan in planned}:
        sweep_all(folder)
    with contextlib.ExitStack() as stack:
        temporary = [stack.enter_context(writing_file(plan.path)) for plan in planned]
        arrays = [_allocated(path, plan) for path, plan in zip(temporary, planned, strict=True)]
        remembered = fill(arrays)
        for array in arrays:
            array.flush()
        del arrays
        for path, plan in zip(temporary, planned, strict=True):
            _seal(path, {**plan.description, "shape": list(plan.shape), **remembered})
    return [_reread(plan.path) for plan in planned]


def _reread(path: Path) -> tuple[np.ndarray, dict[str, Any]]:
    result = opened(path)
    if result is None:
        raise StorageError(f"'{path}' was written but cannot be read back. Check the disk, or choose another folder.")
    return result


def entries(folder: Path | None = None) -> list[Entry]:
    """Every cached array, largest first."""
    paths = ((folder or cache_folder()) / "features").glob("*.npy")
    found = [Entry(path=path, bytes=path.stat().st_size, description=_description(path)) for path in paths]
    return sorted(found, key=lambda entry: (-entry.bytes, entry.path.name))


def size(folder: Path | None = None) -> int:
    """Bytes of all cached arrays."""
    return sum(entry.bytes for entry in entries(folder))


def clear(folder: Path | None = None) -> int:
    """Remove every cached array and what killed writers left; the bytes that became free."""
    place = (folder or cache_folder()) / "features"
    freed = sweep_all(place)
    for path in place.glob("*.npy"):
        with contextlib.suppress(FileNotFoundError):
            freed += path.stat().st_size
            path.unlink()
    return freed


def _allocated(path: Path, plan: Planned) -> np.memmap:
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(plan.dtype), shape=plan.shape)
    with path.open("r+b") as stream:
        # A hole in a mapped file on a full disk would kill the process with SIGBUS.
        os.posix_fallocate(stream.fileno(), 0, path.stat().st_size)
    return array


def _seal(path: Path, description: Mapping[str, Any]) -> None:
    text = json.dumps({**description, "sha256": _sha256(path, path.stat().st_size, description)}).encode()
    with path.open("ab") as stream:
        stream.write(text + len(text).to_bytes(8, "little") + _MAGIC)


_verified: dict[tuple[str, int, int, int], dict[str, Any]] = {}


def _checked(path: Path) -> dict[str, Any]:
    status = path.stat()
    key = (str(path), status.st_ino, status.st_mtime_ns, status.st_size)
    if key not in _verified:
        description, length = _footer(path)
        said = {name: value for name, value in description.items() if name != "sha256"}
        if _sha256(path, length, said) != description["sha256"]:
            raise ValueError("the checksum is wrong")
        _verified[key] = description
    return _verified[key]


def _footer(path: Path) -> tuple[dict[str, Any], int]:
    """Description, and the number of bytes before it."""
    tail = 8 + len(_MAGIC)
    with path.open("rb") as stream:
        end = stream.seek(0, os.SEEK_END)
        if end < tail:
            raise ValueError("too short")
        stream.seek(end - tail)
        last = stream.read(tail)
        length = int.from_bytes(last[:8], "little")
        if last[8:] != _MAGIC or length > end - tail:
            raise ValueError("no footer")
        stream.seek(end - tail - length)
        description = json.loads(stream.read(length))
    if not isinstance(description, dict):
        raise ValueError("no description")
    return description, end - tail - length


def _description(path: Path) -> Mapping[str, Any]:
    try:
        return _footer(path)[0]
    except (OSError, ValueError):
        return {}


def _sha256(path: Path, length: int, description: Mapping[str, Any]) -> str:
    total = hashlib.sha256(digests.of_value(description).encode())
    with path.open("rb") as stream:
        while length > 0:
            block = stream.read(min(_CHUNK, length))
            if not block:
                break
            total.update(block)
            length -= len(block)
    return total.hexdigest()
