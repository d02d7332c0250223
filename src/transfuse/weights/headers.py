"""What lies where in a safetensors file, from its header alone, and its tensors read in pieces.

The header is parsed as a scan parses it (`scanning/safetensors.py`): every byte belongs to one tensor, whose size is
what its shape says. Nothing but the header is read before a tensor is asked for.
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
from transfuse.weights.scanning.findings import Refused
from transfuse.weights.scanning.safetensors import Stored, parsed

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
        tensors = parsed(stream, stream.seek(0, os.SEEK_END))
    except Refused as refusal:
        raise UnsafeFile(f"'{path}': {refusal.finding.reason} {refusal.finding.advice}") from None
    return {tensor.name: _entry(tensor, path) for tensor in tensors}


def _entry(tensor: Stored, path: Path) -> Entry:
    if tensor.code not in _CODES:
        raise WeightsError(f"'{path}': tensor '{tensor.name}' has type {tensor.code}, which is not read. Convert it.")
    return Entry(name=tensor.name, dtype=_CODES[tensor.code], shape=tensor.shape, path=path, start=tensor.start)


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
