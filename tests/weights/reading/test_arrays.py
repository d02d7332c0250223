"""NumPy's and Keras' files as named tensors."""

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from transfuse.core.errors import WeightsError
from transfuse.weights.reading import arrays, hdf5


def npz(**values: np.ndarray) -> io.BytesIO:
    stream = io.BytesIO()
    np.savez(stream, **values)  # type: ignore[arg-type]
    stream.seek(0)
    return stream


def test_an_array_is_a_tensor_by_its_file_s_name() -> None:
    stream = io.BytesIO()
    np.save(stream, np.arange(6, dtype=">f4").reshape(2, 3))
    stream.seek(0)
    found = arrays.read_array(stream, Path("folder/mean.npy"))
    assert list(found) == ["mean"]
    assert torch.equal(found["mean"], torch.arange(6.0).reshape(2, 3))


def test_an_archive_is_its_arrays() -> None:
    found = arrays.read_arrays(npz(a=np.ones(3), b=np.asfortranarray(np.arange(6).reshape(2, 3))), Path("w.npz"))
    assert torch.equal(found["a"], torch.ones(3, dtype=torch.float64))
    assert torch.equal(found["b"], torch.arange(6).reshape(2, 3))


@pytest.mark.parametrize("value", [np.array(["a"]), np.array(["2020"], dtype="M8[D]"), np.zeros(2, dtype="i4,f4")])
def test_what_is_no_number_is_told(value: np.ndarray) -> None:
    with pytest.raises(WeightsError, match="must hold numbers"):
        arrays.read_arrays(npz(a=value), Path("w.npz"))


def test_pickled_objects_stay_closed() -> None:
    with pytest.raises(ValueError, match="allow_pickle"):
        arrays.read_arrays(npz(a=np.array([{}], dtype=object)), Path("w.npz"))


def test_keras_weights_are_arrays_by_their_path(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "w.h5", "w") as file:
        file["layers/dense/vars/0"] = np.arange(6.0, dtype="f4").reshape(2, 3)
        file["layers/dense/vars/1"] = np.ones(3, dtype="f2")
        file["name"] = "dense"
    with (tmp_path / "w.h5").open("rb") as stream:
        found = hdf5.read_hdf5(stream, Path("w.h5"))
    assert {name: tuple(tensor.shape) for name, tensor in found.items()} == {
        "layers/dense/vars/0": (2, 3),
        "layers/dense/vars/1": (3,),
    }
    assert torch.equal(found["layers/dense/vars/0"], torch.arange(6.0).reshape(2, 3))
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as zipped:
        zipped.write(tmp_path / "w.h5", "model.weights.h5")
    assert torch.equal(
        hdf5.read_keras(archive, Path("m.keras"))["layers/dense/vars/0"], torch.arange(6.0).reshape(2, 3)
    )
