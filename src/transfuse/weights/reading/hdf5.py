"""Keras' weights: every array of numbers in an HDF5 file, by its path, alone or inside a `.keras` archive."""

import io
import zipfile
from pathlib import Path
from typing import IO, Any

import torch

from transfuse.core.errors import MissingExtra, WeightsError
from transfuse.weights.reading.arrays import tensor_of

_WEIGHTS = "model.weights.h5"


def read_hdf5(stream: IO[bytes], path: Path) -> dict[str, torch.Tensor]:
    """Arrays of the file by path, as `dense/kernel:0`. Raises `MissingExtra` without h5py."""
    try:
        import h5py
    except ImportError as error:
        raise MissingExtra("Keras' files need h5py. Install it: pip install 'transfuse[hdf5]'.") from error
    found: dict[str, torch.Tensor] = {}

    def take(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "fiubc":
            found[name] = tensor_of(item[()], name)

    with h5py.File(stream, "r") as file:
        file.visititems(take)
    return found


def read_keras(stream: IO[bytes], path: Path) -> dict[str, torch.Tensor]:
    """Arrays of the weights inside a `.keras` archive."""
    with zipfile.ZipFile(stream) as archive:
        if _WEIGHTS not in archive.namelist():
            raise WeightsError(f"A Keras archive must hold '{_WEIGHTS}', but does not.")
        return read_hdf5(io.BytesIO(archive.read(_WEIGHTS)), path)
