"""What the gate opens, and what it refuses without running anything."""

import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from transfuse.core.errors import UnsafeFile, WeightsError
from transfuse.weights.gate import open_tensors, recognise

TENSORS = {"conv.weight": torch.arange(12.0).reshape(3, 4), "bn.num_batches_tracked": torch.tensor(7)}


class Payload:
    """Makes a marker file when it is unpickled without restrictions."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.system, (f"touch '{self.marker}'",)


def saved(path: Path, value: object, *, legacy: bool = False) -> Path:
    torch.save(value, path, _use_new_zipfile_serialization=not legacy)
    return path


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("nest", [None, "state_dict", "model", "model_state_dict"])
def test_torch_files_open_whatever_their_container_and_nesting(tmp_path: Path, legacy: bool, nest: str | None) -> None:
    value = {nest: TENSORS, "epoch": 3, "accuracy": 0.9} if nest else TENSORS
    opened = open_tensors(saved(tmp_path / "w.pth", value, legacy=legacy))
    assert opened.keys() == TENSORS.keys()
    assert all(torch.equal(opened[name], TENSORS[name]) for name in TENSORS)


@pytest.mark.parametrize("legacy", [False, True])
def test_files_saved_on_a_gpu_open_on_the_cpu(tmp_path: Path, legacy: bool) -> None:
    path = saved(tmp_path / "w.pt", TENSORS, legacy=legacy)
    here, there = b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0"
    if legacy:
        path.write_bytes(path.read_bytes().replace(here, there))
    else:
        rewrite(path, lambda name, data: data.replace(here, there) if name.endswith("data.pkl") else data)
    assert b"cuda:0" in path.read_bytes()
    opened = open_tensors(path)
    assert all(tensor.device.type == "cpu" for tensor in opened.values())
    assert torch.equal(opened["conv.weight"], TENSORS["conv.weight"])


def test_safetensors_open(tmp_path: Path) -> None:
    save_file(TENSORS, tmp_path / "w.safetensors")
    assert recognise(tmp_path / "w.safetensors") == "safetensors"
    assert torch.equal(open_tensors(tmp_path / "w.safetensors")["conv.weight"], TENSORS["conv.weight"])


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt", ".th"])
def test_a_payload_is_refused_by_name_and_never_runs(tmp_path: Path, legacy: bool, suffix: str) -> None:
    marker = tmp_path / "ran"
    path = saved(tmp_path / f"w{suffix}", {"state_dict": TENSORS, "x": Payload(marker)}, legacy=legacy)
    with pytest.raises(UnsafeFile, match=r"posix\.system"):
        open_tensors(path)
    assert not marker.exists()


def test_a_bare_pickle_is_refused(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    (tmp_path / "w.bin").write_bytes(pickle.dumps(Payload(marker)))
    with pytest.raises(UnsafeFile, match="bare pickle"):
        open_tensors(tmp_path / "w.bin")
    assert not marker.exists()


def test_a_whole_module_gives_its_tensors_and_runs_nothing(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    opened = open_tensors(saved(tmp_path / "w.pt", {"model": network, "epoch": 3}))
    assert opened.keys() == network.state_dict().keys()
    assert all(torch.equal(opened[name], tensor) for name, tensor in network.state_dict().items())
    with pytest.raises(UnsafeFile, match="runs code"):
        open_tensors(saved(tmp_path / "old.pt", network, legacy=True))


def test_names_put_together_at_run_time_are_refused(tmp_path: Path) -> None:
    """STACK_GLOBAL on anything but two literal strings."""
    data = b"\x80\x04\x8c\x02os\x94\x30\x68\x00\x8c\x06system\x93\x8c\x04true\x85R."
    path = tmp_path / "w.pt"
    saved(path, TENSORS)
    rewrite(path, lambda name, old: data if name.endswith("data.pkl") else old)
    with pytest.raises(UnsafeFile, match=r"os\.system"):
        open_tensors(path)


def test_torchscript_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pt", TENSORS)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("w/code/__torch__.py", "def forward(self): pass")
    with pytest.raises(UnsafeFile, match="TorchScript"):
        open_tensors(path)


def test_a_flipped_bit_in_a_zip_is_noticed(tmp_path: Path) -> None:
    """torch.load itself gives the changed number back."""
    path = saved(tmp_path / "w.pt", TENSORS)
    data = bytearray(path.read_bytes())
    place = data.index(struct.pack("<4f", 0.0, 1.0, 2.0, 3.0))
    data[place + 5] ^= 1
    path.write_bytes(data)
    assert not torch.equal(torch.load(path, weights_only=True)["conv.weight"], TENSORS["conv.weight"])
    with pytest.raises(WeightsError, match="checksum"):
        open_tensors(path)


def test_compressed_records_are_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pt", TENSORS)
    rewrite(path, lambda name, data: data, zipfile.ZIP_DEFLATED)
    with pytest.raises(UnsafeFile, match="compressed"):
        open_tensors(path)


def test_a_tensor_that_claims_more_than_the_file_holds_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pt", {"huge": torch.zeros(100).as_strided((1 << 20, 1 << 20), (0, 0))})
    with pytest.raises(UnsafeFile, match="claims"):
        open_tensors(path)


def test_extensions_that_contradict_the_content_are_refused(tmp_path: Path) -> None:
    saved(tmp_path / "a.safetensors", TENSORS)
    save_file(TENSORS, tmp_path / "b.pt")
    for name in ("a.safetensors", "b.pt"):
        with pytest.raises(UnsafeFile, match="not what it claims"):
            open_tensors(tmp_path / name)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (b"\x89HDF\r\n\x1a\n" + bytes(90), "HDF5"),
        (b"GGUF" + bytes(90), "GGUF"),
        (b"\x93NUMPY" + bytes(90), "NumPy"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "LFS"),
        (b"hello world, this is text", "plain text"),
    ],
)
def test_other_formats_are_named(tmp_path: Path, data: bytes, message: str) -> None:
    (tmp_path / "w.pt").write_bytes(data)
    with pytest.raises(WeightsError, match=message):
        open_tensors(tmp_path / "w.pt")


def test_a_missing_file_and_a_folder_are_told(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be read"):
        open_tensors(tmp_path / "none.pt")
    with pytest.raises(WeightsError, match="no plain file"):
        open_tensors(tmp_path)


def test_a_file_without_tensors_is_told(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds none"):
        open_tensors(saved(tmp_path / "w.pt", {"epoch": 3, "state_dict": {}}))


def test_a_safetensors_header_that_names_a_tensor_twice_is_refused(tmp_path: Path) -> None:
    entry = '"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    header = f"{{{entry},{entry}}}".encode()
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + bytes(4))
    with pytest.raises(UnsafeFile, match="twice"):
        open_tensors(tmp_path / "w.safetensors")


@pytest.mark.parametrize("length", [2**63, 2**30, 0])
def test_a_safetensors_header_that_lies_about_its_length_is_broken(tmp_path: Path, length: int) -> None:
    (tmp_path / "w.safetensors").write_bytes(struct.pack("<Q", length) + json.dumps({"a": 1}).encode())
    with pytest.raises(WeightsError, match="header"):
        open_tensors(tmp_path / "w.safetensors")


def samples() -> dict[str, bytes]:
    zipped, legacy = io.BytesIO(), io.BytesIO()
    torch.save(TENSORS, zipped)
    torch.save(TENSORS, legacy, _use_new_zipfile_serialization=False)
    from safetensors.torch import save

    return {"zip": zipped.getvalue(), "legacy": legacy.getvalue(), "safe": save(TENSORS)}


SAMPLES = samples()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(sorted(SAMPLES)), cut=st.floats(0, 1), place=st.floats(0, 1), byte=st.integers(0, 255))
def test_one_family_of_errors_whatever_the_bytes(
    tmp_path: Path, kind: str, cut: float, place: float, byte: int
) -> None:
    data = bytearray(SAMPLES[kind])
    data[int(place * (len(data) - 1))] = byte
    path = tmp_path / "w.weights"
    path.write_bytes(data if cut > 0.5 else data[: int(2 * cut * len(data))])
    try:
        assert set(open_tensors(path)) and all(isinstance(t, torch.Tensor) for t in open_tensors(path).values())
    except WeightsError as error:
        assert str(path) in str(error) or "header" in str(error) or "pickle" in str(error)


def rewrite(path: Path, change, compression: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path) as archive:
        records = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in records:
            archive.writestr(name, change(name, data))


@pytest.mark.parametrize("start", [b"\x80\x20", b"\x80\x02"])
def test_a_header_whose_length_begins_like_another_format_is_safetensors(tmp_path, start):
    length, tensors = int.from_bytes(start, "little"), {"w": torch.arange(3.0)}
    save_file(tensors, tmp_path / "a.safetensors", metadata={"pad": ""})
    empty = int.from_bytes((tmp_path / "a.safetensors").read_bytes()[:8], "little")
    save_file(tensors, tmp_path / "a.safetensors", metadata={"pad": "x" * (length - empty)})
    assert (tmp_path / "a.safetensors").read_bytes()[:2] == start
    assert torch.equal(open_tensors(tmp_path / "a.safetensors")["w"], tensors["w"])


@pytest.mark.parametrize("tensor", [torch.eye(3).to_sparse(), torch.ones(3, device="meta")], ids=["sparse", "meta"])
@pytest.mark.parametrize("legacy", [False, True])
def test_a_tensor_that_cannot_be_had_is_told_and_never_left_out(
    tmp_path: Path, tensor: torch.Tensor, legacy: bool
) -> None:
    with pytest.raises(WeightsError, match=r"'b'|sparse"):
        open_tensors(saved(tmp_path / "w.pt", {"a": torch.ones(2), "b": tensor}, legacy=legacy))
