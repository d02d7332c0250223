"""Torch's zip files read by our own reader: the same tensors as torch reads, and nothing else of what they name."""

import argparse
import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from transfuse.core.errors import UnsafeFile, WeightsError
from transfuse.weights.reading.torch_zip import Inert, read_torch_zip, state_of

DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8),
    *(torch.uint8, torch.bool, torch.complex64, torch.complex128, torch.uint16, torch.uint32, torch.uint64),
    *(torch.float8_e4m3fn, torch.float8_e5m2),
]


class Block(nn.Module):
    """A module of a user's own, with what modules have."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.scale = nn.Parameter(torch.ones(2))
        self.missing = nn.Linear(3, 4, bias=False)
        self.register_buffer("seen", torch.arange(3.0))
        self.register_buffer("scratch", torch.zeros(5), persistent=False)


class Payload:
    """Makes a marker file when it is unpickled as pickle does."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.system, (f"touch '{self.marker}'",)


def saved(value: Any) -> io.BytesIO:
    stream = io.BytesIO()
    torch.save(value, stream)
    stream.seek(0)
    return stream


def raw(tensor: torch.Tensor) -> torch.Tensor:
    """Its bytes, which compare equal whatever they mean."""
    return tensor.contiguous().reshape(-1).view(torch.uint8)


def rewritten(stream: io.BytesIO, **records: bytes) -> io.BytesIO:
    """The same archive with other records, by the last part of their names."""
    made = io.BytesIO()
    with zipfile.ZipFile(stream) as old, zipfile.ZipFile(made, "w") as new:
        for name in old.namelist():
            last = name.rpartition("/")[2].replace(".", "_")
            new.writestr(name, records.get(last, old.read(name)))
    return made


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type_of_numbers_is_as_torch_reads_it(dtype: torch.dtype) -> None:
    value = {"a": torch.arange(24).reshape(2, 3, 4).to(dtype), "b": torch.ones(()).to(dtype)}
    mine, theirs = read_torch_zip(saved(value), Path("w")), torch.load(saved(value), weights_only=True)
    for name in value:
        assert mine[name].dtype == dtype and mine[name].shape == theirs[name].shape
        assert torch.equal(raw(mine[name]), raw(theirs[name]))


def test_views_keep_what_they_share() -> None:
    whole = torch.arange(12.0).reshape(3, 4)
    value = OrderedDict(
        whole=whole, turned=whole.T, row=whole[1], step=whole[:, ::2], none=torch.zeros(0, 4), tied=whole
    )
    mine = read_torch_zip(saved(value), Path("w"))
    assert all(torch.equal(mine[name], value[name]) for name in value)
    assert len({tensor.untyped_storage().data_ptr() for name, tensor in mine.items() if name != "none"}) == 1


def test_a_checkpoint_with_a_script_s_own_objects_gives_its_tensors() -> None:
    network = nn.Linear(3, 2)
    value = {"model": network.state_dict(), "args": argparse.Namespace(lr=0.1), "epoch": 3, "block": Block()}
    mine = read_torch_zip(saved(value), Path("w"))
    assert torch.equal(mine["model"]["weight"], network.weight)
    assert mine["epoch"] == 3 and isinstance(mine["args"], Inert)


def test_a_whole_module_s_state_is_its_state_dict() -> None:
    block = Block()
    state = state_of(read_torch_zip(saved(block), Path("w")))
    assert state is not None and list(state) == list(block.state_dict())
    assert all(torch.equal(state[name], tensor) for name, tensor in block.state_dict().items())
    assert state_of({"a": 1}) is None and state_of(Inert()) is None


def test_nothing_that_the_pickle_names_is_called(tmp_path: Path) -> None:
    value = read_torch_zip(saved({"a": torch.ones(2), "b": Payload(tmp_path / "ran")}), Path("w"))
    assert torch.equal(value["a"], torch.ones(2)) and isinstance(value["b"], Inert)
    assert not (tmp_path / "ran").exists()


def test_a_changed_bit_is_noticed() -> None:
    stream = saved({"a": torch.arange(1000.0)})
    data = bytearray(stream.getvalue())
    data[data.index(torch.arange(1000.0).numpy().tobytes()) + 77] ^= 1
    with pytest.raises(zipfile.BadZipFile, match="CRC"):
        read_torch_zip(io.BytesIO(bytes(data)), Path("w"))


@pytest.mark.parametrize("data", [b"", b"\0" * 39, b"\0" * 41], ids=len)
def test_a_storage_that_is_not_as_large_as_it_says_is_refused(data: bytes) -> None:
    with pytest.raises(UnsafeFile, match="claims 10 numbers"):
        read_torch_zip(rewritten(saved({"a": torch.zeros(10)}), **{"0": data}), Path("w"))


@pytest.mark.parametrize(("offset", "size", "stride"), [
    (1, (10,), (1,)), (-1, (2,), (1,)), (0, (2,), (10,)), (0, (2, 2), (9, 1)), (0, (-2,), (1,)), (9, (2,), (-1,)),
])  # fmt: skip
def test_a_tensor_outside_its_storage_is_refused(offset: int, size: tuple, stride: tuple) -> None:
    class Wrong:
        def __reduce__(self) -> tuple:
            tensor = torch.zeros(10)
            return torch._utils._rebuild_tensor_v2, (
                torch.storage.TypedStorage(wrap_storage=tensor.untyped_storage(), dtype=tensor.dtype, _internal=True),
                offset,
                size,
                stride,
                False,
                OrderedDict(),
            )

    stream = io.BytesIO()
    torch.save({"a": Wrong()}, stream)
    with pytest.raises(UnsafeFile, match="outside its storage"):
        read_torch_zip(stream, Path("w"))


def test_numbers_of_another_byte_order_are_refused() -> None:
    with pytest.raises(WeightsError, match="big end first"):
        read_torch_zip(rewritten(saved({"a": torch.zeros(2)}), byteorder=b"big"), Path("w"))


def test_modules_that_hold_each_other_end() -> None:
    block = Block()
    block.add_module("again", block)
    loop = read_torch_zip(saved(block), Path("w"))
    with pytest.raises(WeightsError, match="deep in each other"):
        state_of(loop)


def test_an_old_pickle_of_a_python_2_class_stays_inert() -> None:
    assert pickle.loads(pickle.dumps(Inert())).state is None
