"""Plain pickles are opened, everything else is refused before and while it is opened."""

import collections
import io
import os
import pickle
from pathlib import Path

import numpy as np
import pytest

from transfuse.core.errors import UnsafeFile, WeightsError
from transfuse.weights.unpickling import _Restricted, load_plain


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
