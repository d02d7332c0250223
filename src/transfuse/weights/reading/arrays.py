"""NumPy's files as named tensors; never with pickled objects."""

from pathlib import Path
from typing import IO

import numpy as np
import torch

from transfuse.core.errors import WeightsError


def read_array(stream: IO[bytes], path: Path) -> dict[str, torch.Tensor]:
    """A `.npy` as one tensor, called as its file is."""
    return {path.stem: tensor_of(np.load(stream, allow_pickle=False), path.stem)}


def read_arrays(stream: IO[bytes], path: Path) -> dict[str, torch.Tensor]:
    """A `.npz` as its arrays."""
    with np.load(stream, allow_pickle=False) as archive:
        return {member: tensor_of(archive[member], member) for member in archive.files}


def tensor_of(array: np.ndarray, name: str) -> torch.Tensor:
    """An array of numbers as a tensor. Raises `WeightsError` for texts, dates and records."""
    if array.dtype.kind not in "fiubc" or array.dtype.itemsize > 16:
        raise WeightsError(f"Array '{name}' must hold numbers, but holds {array.dtype}.")
    try:
        return torch.from_numpy(np.ascontiguousarray(array.astype(array.dtype.newbyteorder("="), copy=False)))
    except TypeError as error:
        raise WeightsError(f"Array '{name}' is of type {array.dtype}, which torch does not have.") from error
