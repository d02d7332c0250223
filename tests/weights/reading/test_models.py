"""ONNX and GGUF as named tensors: what is in the file, what lies beside it, what cannot be had."""

import io
import os
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

from transfuse.core.errors import UnsafeFile, WeightsError
from transfuse.weights.reading.gguf import read_gguf
from transfuse.weights.reading.onnx import read_onnx

MADE = runpy.run_path(str(Path(__file__).parents[3] / "benchmarks/fuzzing_seeds_formats.py"))
NUMBERS = torch.arange(6.0).reshape(2, 3)


def number(value: int) -> bytes:
    """A varint."""
    found = b""
    while value > 127:
        found, value = found + bytes([value & 127 | 128]), value >> 7
    return found + bytes([value])


def field(place: int, value: int | bytes | str) -> bytes:
    """A field of a protobuf message."""
    if isinstance(value, int):
        return number(place << 3) + number(value & (2**64 - 1))
    data = value.encode() if isinstance(value, str) else value
    return number(place << 3 | 2) + number(len(data)) + data


def model(*tensors: bytes) -> io.BytesIO:
    return io.BytesIO(field(1, 8) + field(7, b"".join(field(5, tensor) for tensor in tensors)))


def tensor(name: str, kind: int, shape: tuple[int, ...], *rest: bytes) -> bytes:
    return b"".join(field(1, side) for side in shape) + field(2, kind) + field(8, name) + b"".join(rest)


@pytest.mark.parametrize(("kind", "rest", "expected"), [
    (1, field(9, NUMBERS.numpy().tobytes()), NUMBERS),
    (1, field(4, NUMBERS.numpy().tobytes()), NUMBERS),
    (11, field(10, NUMBERS.double().numpy().tobytes()), NUMBERS.double()),
    (7, field(7, b"".join(map(number, [0, 1, 2, 3, 4, 2**64 - 5]))), torch.tensor([[0, 1, 2], [3, 4, -5]])),
    (6, b"".join(field(5, value) for value in (0, 1, 2, 3, 4, -5)), torch.tensor([[0, 1, 2], [3, 4, -5]]).int()),
    (9, field(5, bytes([1, 0, 1, 0, 1, 1])), torch.tensor([[True, False, True], [False, True, True]])),
    (10, field(5, b"".join(map(number, NUMBERS.half().view(torch.int16).flatten().tolist()))), NUMBERS.half()),
    (16, field(9, NUMBERS.bfloat16().view(torch.uint8).numpy().tobytes()), NUMBERS.bfloat16()),
])  # fmt: skip
def test_onnx_keeps_numbers_in_many_ways(kind: int, rest: bytes, expected: torch.Tensor) -> None:
    found = read_onnx(model(tensor("t", kind, (2, 3), rest)), Path("m.onnx"))["t"]
    assert found.dtype == expected.dtype and torch.equal(found, expected)


def test_onnx_reads_what_lies_beside_it_and_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"before" + NUMBERS.numpy().tobytes() + b"after")
    facts = {"location": "w.bin", "offset": "6", "length": "24"}
    outside = b"".join(field(13, field(1, key) + field(2, value)) for key, value in facts.items()) + field(14, 1)
    built = model(tensor("t", 1, (2, 3), outside))
    assert torch.equal(read_onnx(built, tmp_path / "m.onnx")["t"], NUMBERS)
    os.link(tmp_path / "w.bin", tmp_path / "second")
    with pytest.raises(UnsafeFile, match="second name"):
        read_onnx(built, tmp_path / "m.onnx")
    (tmp_path / "w.bin").unlink()
    (tmp_path / "w.bin").symlink_to(tmp_path / "second")
    with pytest.raises(OSError, match=r"w\.bin"):
        read_onnx(built, tmp_path / "m.onnx")


def test_onnx_types_that_torch_lacks_are_told() -> None:
    with pytest.raises(WeightsError, match="ONNX type 8"):
        read_onnx(model(tensor("t", 8, (1,), field(6, "text"))), Path("m.onnx"))


def gguf(*tensors: bytes, data: bytes) -> io.BytesIO:
    built: Any = MADE["gguf_file"]([], list(tensors), data)
    return io.BytesIO(built)


def test_gguf_turns_its_axes_round() -> None:
    entry = MADE["gguf_tensor"]("t", (3, 2), 0, 0)
    found = read_gguf(gguf(entry, data=NUMBERS.numpy().tobytes() + bytes(8)), Path("m.gguf"))
    assert torch.equal(found["t"], NUMBERS)


def test_gguf_quantised_tensors_are_told() -> None:
    entry = MADE["gguf_tensor"]("t", (32,), 8, 0)
    with pytest.raises(WeightsError, match="1 quantised tensors, as 't'"):
        read_gguf(gguf(entry, data=bytes(64)), Path("m.gguf"))
