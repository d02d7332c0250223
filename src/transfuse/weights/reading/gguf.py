"""The tensors of a GGUF file that are not quantised; quantised ones are told, for their numbers are gone.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Axes come the fastest first and are turned round.
"""

import os
from pathlib import Path
from typing import IO

import torch

from transfuse.core.errors import WeightsError
from transfuse.weights.scanning import gguf
from transfuse.weights.scanning.contents import Content

_DTYPES = {
    0: torch.float32, 1: torch.float16, 24: torch.int8, 25: torch.int16, 26: torch.int32, 27: torch.int64,
    28: torch.float64, 30: torch.bfloat16,
}  # fmt: skip
"""`ggml_type`."""


def read_gguf(stream: IO[bytes], path: Path) -> dict[str, torch.Tensor]:
    """Tensors by name. Raises `WeightsError` when one is quantised."""
    size = stream.seek(0, os.SEEK_END)
    _, placed = gguf.read(Content(stream=stream, size=size, name=path.name, path=path))
    quantised = [one.name for one in placed if one.kind not in _DTYPES]
    if quantised:
        raise WeightsError(
            f"'{path}' holds {len(quantised)} quantised tensors, as '{quantised[0]}', whose numbers are gone. Take the"
            " checkpoint that it was made from."
        )
    return {one.name: _tensor(stream, one) for one in placed}


def _tensor(stream: IO[bytes], one: gguf.Placed) -> torch.Tensor:
    stream.seek(one.start)
    data = bytearray(stream.read(one.stop - one.start))
    raw = torch.frombuffer(data, dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)
    return raw.view(_DTYPES[one.kind]).reshape(one.shape[::-1])
