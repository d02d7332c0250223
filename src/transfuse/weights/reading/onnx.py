"""The tensors of an ONNX model: its graph's initialisers, in the file or beside it; the model itself is never built.

Constants that are nodes of the graph are not taken. Field numbers:
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto. The file was judged before: sizes and places of
data outside it are right. A file beside the model is opened by its name in the folder, and no link is followed.
"""

import os
from pathlib import Path
from typing import IO

import torch

from transfuse.core.errors import UnsafeFile, WeightsError
from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.protobuf import wire

_DTYPES = {
    1: torch.float32, 2: torch.uint8, 3: torch.int8, 4: torch.uint16, 5: torch.int16, 6: torch.int32, 7: torch.int64,
    9: torch.bool, 10: torch.float16, 11: torch.float64, 12: torch.uint32, 13: torch.uint64, 14: torch.complex64,
    15: torch.complex128, 16: torch.bfloat16, 17: torch.float8_e4m3fn, 19: torch.float8_e5m2,
}  # fmt: skip
"""`TensorProto.DataType`."""
_AS_IS = {4: torch.float32, 7: torch.int64, 10: torch.float64, 11: torch.uint64}
"""Type of the numbers in `float_data`, `int64_data`, `double_data` and `uint64_data`, by their field."""
_INT32 = 5
_LARGEST = 2**40


def read_onnx(stream: IO[bytes], path: Path) -> dict[str, torch.Tensor]:
    """Initialisers by name. Raises `WeightsError` for types that torch does not have."""
    size = stream.seek(0, os.SEEK_END)
    model = wire.message(Content(stream=stream, size=size, name=path.name, path=path))
    found: dict[str, torch.Tensor] = {}
    for graph in wire.messages(wire.grouped(model, (7,))[7]):
        for part in wire.messages(wire.grouped(graph, (5,))[5]):
            name, tensor = _tensor(part, path.parent)
            found[name] = tensor
    return found


def _tensor(part: wire.Message, folder: Path) -> tuple[str, torch.Tensor]:
    parts = wire.grouped(part, (1, 2, 4, 5, 7, 8, 9, 10, 11, 13, 14))
    name, shape = wire.text(parts[8]), [wire.signed(side) for side in wire.integers(parts[1])]
    dtype = _DTYPES.get(int(parts[2][-1]))  # type: ignore[arg-type]
    if dtype is None:
        raise WeightsError(f"Tensor '{name}' is of ONNX type {parts[2][-1]}, which torch does not have.")
    if parts[14] and parts[14][-1] == 1:
        data = _outside(parts[13], folder)
    elif parts[9]:
        data = list(wire.messages(parts[9]))[-1].bytes(_LARGEST)
    else:
        return name, _listed(parts, dtype).reshape(shape)
    raw = torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
    return name, raw.view(dtype).reshape(shape)


def _listed(parts: dict[int, list[int | wire.Message]], dtype: torch.dtype) -> torch.Tensor:
    """Numbers that are kept one by one, packed as floats or as varints."""
    for field, stored in _AS_IS.items():
        if parts[field] and field in (7, 11):
            return torch.tensor(_whole(parts[field], signed=field == 7), dtype=stored).to(dtype)
        if parts[field]:
            data = b"".join(piece.bytes(_LARGEST) for piece in wire.messages(parts[field]))
            return torch.frombuffer(bytearray(data), dtype=stored).view(dtype)
    numbers = _whole(parts[_INT32], signed=True)
    if dtype in (torch.float16, torch.bfloat16):  # as the bits of 16-bit numbers
        return torch.tensor(numbers, dtype=torch.int32).to(torch.int16).view(dtype)
    if dtype in (torch.float8_e4m3fn, torch.float8_e5m2):
        return torch.tensor(numbers, dtype=torch.int32).to(torch.uint8).view(dtype)
    return torch.tensor(numbers, dtype=torch.int64).to(dtype)


def _whole(values: list[int | wire.Message], *, signed: bool) -> list[int]:
    return [wire.signed(value) if signed else value for value in wire.integers(values)]


def _outside(entries: list[int | wire.Message], folder: Path) -> bytes:
    facts = {}
    for entry in wire.messages(entries):
        key, value = wire.grouped(entry, (1, 2)).values()
        facts[wire.text(key)] = wire.text(value)
    handle = os.open(folder / facts["location"], os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0))
    with os.fdopen(handle, "rb") as stream:
        if os.fstat(handle).st_nlink != 1:
            raise UnsafeFile(f"'{facts['location']}' has a second name, perhaps outside the folder.")
        stream.seek(int(facts.get("offset", 0)))
        return stream.read(int(facts["length"])) if "length" in facts else stream.read()
