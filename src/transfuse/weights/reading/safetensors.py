"""The tensors of a safetensors file, from an open stream; its header is parsed once and every length comes from it."""

from pathlib import Path
from typing import IO

import torch

from transfuse.core.errors import WeightsError
from transfuse.weights.headers import Entry, header_in


def read_safetensors(stream: IO[bytes], path: Path) -> dict[str, torch.Tensor]:
    """Tensors by name. Raises `WeightsError` when the file became shorter, or what `header_in` raises."""
    return {entry.name: _tensor(stream, entry) for entry in header_in(stream, path).values()}


def _tensor(stream: IO[bytes], entry: Entry) -> torch.Tensor:
    data = torch.empty(entry.nbytes, dtype=torch.uint8)
    stream.seek(entry.start)
    view, place = data.numpy().data, 0
    while place < entry.nbytes:
        got = stream.readinto(view[place:])  # type: ignore[attr-defined]
        if not got:
            raise WeightsError(f"Tensor '{entry.name}' ends too early. Fetch the file again.")
        place += got
    return data.view(entry.dtype.torch).reshape(entry.shape)
