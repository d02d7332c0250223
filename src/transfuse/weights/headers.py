"""What lies where in a safetensors file, from its header alone, and its tensors read in pieces.

The header is checked as the gate checks it (size, names told once) and further: every tensor must lie within the file,
be as large as its shape says, and overlap no other. Nothing but the header is read before a tensor is asked for.
Format: https://huggingface.co/docs/safetensors (length, JSON header, data).
"""

import json
import math
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from transfuse.core.errors import UnsafeFile, WeightsError

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, kw_only=True)
class Dtype:
    """A type of numbers, by the name that torch gives it; torch itself need not be there."""

    name: str
    code: str
    """Its name in safetensors."""
    itemsize: int
    floating: bool

    @property
    def torch(self) -> "torch.dtype":
        """The same type, as torch has it."""
        import torch

        found: torch.dtype = getattr(torch, self.name)
        return found


_FLOATING = (
    ("float64", "F64", 8), ("float32", "F32", 4), ("float16", "F16", 2), ("bfloat16", "BF16", 2),
    ("float8_e4m3fn", "F8_E4M3", 1), ("float8_e5m2", "F8_E5M2", 1),
)  # fmt: skip
_WHOLE = (
    ("int64", "I64", 8), ("int32", "I32", 4), ("int16", "I16", 2), ("int8", "I8", 1), ("uint8", "U8", 1),
    ("bool", "BOOL", 1),
)  # fmt: skip
_KNOWN = tuple(
    Dtype(name=name, code=code, itemsize=size, floating=table is _FLOATING)
    for table in (_FLOATING, _WHOLE)
    for name, code, size in table
)
DTYPES: Mapping[str, Dtype] = {dtype.name: dtype for dtype in _KNOWN}
_CODES: Mapping[str, Dtype] = {dtype.code: dtype for dtype in _KNOWN}
_LARGEST = 100 * 2**20
_TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One tensor, in a file or in memory."""

    name: str
    dtype: Dtype
    shape: tuple[int, ...]
    path: Path | None = None
    start: int = 0
    """Byte of the file where its data begin."""
    tensor: "torch.Tensor | None" = None

    @property
    def count(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Size of its data."""
        return self.count * self.dtype.itemsize


def entry_of(name: str, tensor: "torch.Tensor") -> Entry:
    """A tensor in memory. Raises `WeightsError` for a type that safetensors lacks."""
    dtype = DTYPES.get(str(tensor.dtype).removeprefix("torch."))
    if dtype is None:
        raise WeightsError(f"Tensor '{name}' has type {tensor.dtype}, which safetensors does not have. Cast it first.")
    return Entry(name=name, dtype=dtype, shape=tuple(tensor.shape), tensor=tensor)


def spoken_shape(shape: tuple[int, ...]) -> str:
    """`(1000×512)`."""
    return f"({_TIMES.join(map(str, shape)) or 'scalar'})"


def read_header(path: Path) -> dict[str, Entry]:
    """Every tensor of the file. Raises `WeightsError` or `UnsafeFile`."""
    try:
        with path.open("rb") as stream:
            return header_in(stream, path)
    except OSError as error:
        raise WeightsError(f"'{path}' cannot be read: {error.strerror}. Give the path of a weights file.") from error


def header_in(stream: IO[bytes], path: Path) -> dict[str, Entry]:
    """Every tensor of an open file, which `path` names. Raises `WeightsError` or `UnsafeFile`."""
    try:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(0)
        (length,) = struct.unpack("<Q", stream.read(8).ljust(8, b"\0"))
        if not 2 <= length <= min(_LARGEST, size - 8):
            raise WeightsError(f"'{path}' is broken: its header says {length} bytes. Fetch it again.")
        header = json.loads(stream.read(length), object_pairs_hook=_told_once)
        header.pop("__metadata__", None)
        found = {name: _entry(name, facts, path, 8 + length) for name, facts in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"'{path}' is broken: its header is no list of tensors ({error}). Fetch it again.") from None
    _require_apart(found, size, path)
    return found


def _told_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise UnsafeFile("The safetensors header names one tensor twice, so two readers could see different weights.")
    return dict(pairs)


def _entry(name: str, facts: Mapping[str, Any], path: Path, data: int) -> Entry:
    if facts["dtype"] not in _CODES:
        raise WeightsError(f"'{path}': tensor '{name}' has type {facts['dtype']}, which is not read. Convert it first.")
    start, stop = (int(offset) for offset in facts["data_offsets"])
    shape = tuple(int(side) for side in facts["shape"])
    entry = Entry(name=name, dtype=_CODES[facts["dtype"]], shape=shape, path=path, start=data + start)
    if start < 0 or any(side < 0 for side in shape) or stop - start != entry.nbytes:
        raise UnsafeFile(f"'{path}': tensor '{name}' is not as large as its shape says. Fetch the file again.")
    return entry


def _require_apart(entries: Mapping[str, Entry], size: int, path: Path) -> None:
    end = 0
    for entry in sorted(entries.values(), key=lambda entry: (entry.start, entry.nbytes)):
        if entry.start < end:
            raise UnsafeFile(f"'{path}': tensor '{entry.name}' overlaps another. Ask for the weights again.")
        end = entry.start + entry.nbytes
    if end > size:
        raise WeightsError(f"'{path}' is truncated: {end} bytes are announced, {size} are there. Fetch it again.")


def header_of(tensors: Mapping[str, tuple[Dtype, tuple[int, ...]]]) -> tuple[bytes, dict[str, int]]:
    """The beginning of a safetensors file that holds these tensors in this order, and where each one's data begin."""
    document: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    places, place = {}, 0
    for name, (dtype, shape) in tensors.items():
        size = math.prod(shape) * dtype.itemsize
        document[name] = {"dtype": dtype.code, "shape": list(shape), "data_offsets": [place, place + size]}
        places[name], place = place, place + size
    text = json.dumps(document, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, {name: 8 + len(text) + start for name, start in places.items()}
