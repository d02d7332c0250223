"""Our own files of weights."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from transfuse.core.errors import StorageError
from transfuse.weights.files import read_tensors, write_tensors


def test_what_is_written_is_read(tmp_path: Path) -> None:
    shared = torch.rand(3, 4)
    tensors = {"a": shared, "b": shared.t(), "tied": shared, "n": torch.tensor(5)}
    write_tensors(tmp_path / "sub" / "w.safetensors", tensors, {"source": "a test"})
    read = read_tensors(tmp_path / "sub" / "w.safetensors")
    assert all(torch.equal(read[name], tensor) for name, tensor in tensors.items())
    with safe_open(tmp_path / "sub" / "w.safetensors", "pt") as file:
        assert file.metadata() == {"source": "a test"}


def test_nothing_is_left_behind_when_writing_fails(tmp_path: Path) -> None:
    write_tensors(tmp_path / "w.safetensors", {"a": torch.ones(1)})
    with pytest.raises(StorageError, match="not a folder"):
        write_tensors(tmp_path / "w.safetensors" / "x.safetensors", {"a": torch.zeros(1)})
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]
    assert read_tensors(tmp_path / "w.safetensors")["a"].item() == 1
