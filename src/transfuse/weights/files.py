"""Writing and reading transfuse's own weights: safetensors only."""

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from transfuse.core.atomic import writing_file
from transfuse.core.errors import WeightsError
from transfuse.weights.gate import open_tensors


def write_tensors(
    path: str | Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None
) -> Path:
    """Write named tensors as safetensors, atomically. Raises `StorageError` when there is no room."""
    path = Path(path)
    # Clones, because safetensors refuses tensors that share memory (tied weights).
    plain = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()}
    with writing_file(path) as temporary:
        _save(plain, temporary, dict(metadata) if metadata else None)
    return path


def _save(tensors: dict[str, torch.Tensor], path: Path, metadata: dict[str, str] | None) -> None:
    """Write a file; what the system refused comes as its `OSError`, which safetensors hides in a text."""
    try:
        save_file(tensors, str(path), metadata=metadata)
    except SafetensorError as error:
        refused = re.search(r"\(os error (\d+)\)", str(error))
        if refused is None:
            raise
        raise OSError(int(refused[1]), str(error), str(path)) from error


def read_tensors(path: str | Path) -> dict[str, torch.Tensor]:
    """Read what `write_tensors` wrote, through the gate like every file."""
    return open_tensors(path)


def read_metadata(path: str | Path) -> dict[str, str]:
    """The texts that `write_tensors` stored beside the tensors."""
    try:
        with safe_open(str(path), framework="pt") as stream:
            return dict(stream.metadata() or {})
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"'{path}' must be a safetensors file, but cannot be read: {error}.") from error
