"""Our own files of weights."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from transfuse.core.errors import StorageError, WeightsError
from transfuse.weights.files import is_whole, read_tensors, read_whole, write_tensors


def test_what_is_written_is_read(tmp_path: Path) -> None:
    shared = torch.rand(3, 4)
    tensors = {"a": shared, "b": shared.t(), "tied": shared, "n": torch.tensor(5)}
    write_tensors(tmp_path / "sub" / "w.safetensors", tensors, {"source": "a test"})
    read = read_tensors(tmp_path / "sub" / "w.safetensors")
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())
    with safe_open(tmp_path / "sub" / "w.safetensors", "pt") as file:
        assert file.metadata().keys() == {"source", "digest"}
    again, texts = read_whole(tmp_path / "sub" / "w.safetensors")
    assert again.keys() == read.keys() and texts == {"source": "a test"}


def test_nothing_is_left_behind_when_writing_fails(tmp_path: Path) -> None:
    write_tensors(tmp_path / "w.safetensors", {"a": torch.ones(1)})
    with pytest.raises(StorageError, match="not a folder"):
        write_tensors(tmp_path / "w.safetensors" / "x.safetensors", {"a": torch.zeros(1)})
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]
    assert read_tensors(tmp_path / "w.safetensors")["a"].item() == 1


def test_a_disk_without_room_is_a_storage_error_and_the_old_file_stays(tmp_path: Path) -> None:
    path = write_tensors(tmp_path / "w.safetensors", {"a": torch.ones(1)})
    code = f"""
import resource, signal, torch
from transfuse.weights.files import write_tensors
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, 65536))
write_tensors({str(path)!r}, {{"a": torch.zeros(100_000)}})
"""
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert "StorageError" in ended.stderr.splitlines()[-1]
    assert read_tensors(path)["a"].item() == 1
    assert [entry.name for entry in tmp_path.iterdir()] == ["w.safetensors"]


def test_every_bit_counts(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    tensors = {"a": torch.rand(3), "b": torch.rand(2, 2).bfloat16(), "none": torch.empty(0), "one": torch.tensor(True)}
    whole = write_tensors(path, tensors, {"progress": '{"step": 4}'}).read_bytes()
    assert is_whole(path)
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1 << place % 8
        path.write_bytes(changed)
        assert not is_whole(path), place
    for length in (0, 7, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert not is_whole(path)


def test_what_has_no_digest_is_not_taken_for_whole(tmp_path: Path) -> None:
    save_file({"a": torch.ones(1)}, tmp_path / "w.safetensors")
    with pytest.raises(WeightsError, match="its digest differs"):
        read_whole(tmp_path / "w.safetensors")


def test_the_same_tensors_are_the_same_bytes(tmp_path: Path) -> None:
    texts = {f"name{number}": "größe \u2603" for number in range(8)}
    found = {write_tensors(tmp_path / str(n), {"a": torch.ones(3)}, texts).read_bytes() for n in range(5)}
    assert len(found) == 1 and read_whole(tmp_path / "0")[1] == texts
