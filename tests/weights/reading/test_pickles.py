"""Plain pickles are opened, everything else is refused before and while it is opened."""

import collections
import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch

from transfuse.core.errors import UnsafeFile, WeightsError
from transfuse.weights.reading.pickles import _Restricted, load_plain, read_pickle


class Payload:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.system, (f"touch '{self.marker}'",)


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_and_arrays_come_back(protocol):
    value = {"a": [1, 2.5, "x", b"y", None], "o": collections.OrderedDict(k=1), "n": np.float32(1.5)}
    opened = load_plain(io.BytesIO(pickle.dumps({**value, "w": np.arange(6.0).reshape(2, 3)}, protocol)))
    np.testing.assert_array_equal(opened.pop("w"), np.arange(6.0).reshape(2, 3))
    assert opened == value


def test_code_is_refused_by_the_scan_and_by_the_unpickler(tmp_path):
    data = pickle.dumps(Payload(tmp_path / "ran"))
    with pytest.raises(UnsafeFile, match=r"posix\.system"):
        load_plain(io.BytesIO(data))
    with pytest.raises(UnsafeFile, match=r"posix\.system"):
        _Restricted(io.BytesIO(data)).load()
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("data", [b"", b"\x80\x04", b"\x80\x04]", b"hello", pickle.dumps([1])[:-1]])
def test_broken_bytes_are_one_family_of_errors(data):
    with pytest.raises(WeightsError):
        load_plain(io.BytesIO(data))


def test_arrays_come_by_their_path(tmp_path: Path) -> None:
    value = {"layers": [{"w": np.arange(6.0).reshape(2, 3)}, {"w": np.float32(2)}], "names": ["a"], "epoch": 3}
    found = read_pickle(io.BytesIO(pickle.dumps(value)), tmp_path / "w.pkl")
    assert list(found) == ["layers.0.w", "layers.1.w"]
    assert torch.equal(found["layers.0.w"], torch.arange(6.0, dtype=torch.float64).reshape(2, 3))
    assert read_pickle(io.BytesIO(pickle.dumps(np.ones(2))), tmp_path / "bias.pkl").keys() == {"bias"}
