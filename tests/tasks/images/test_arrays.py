from pathlib import Path

import numpy as np
import pytest

from transfuse.core.errors import DataError, UsageError
from transfuse.tasks.images.arrays import list_arrays, list_memory

RNG = np.random.default_rng(0)
X = RNG.integers(0, 256, (6, 5, 7, 3), dtype=np.uint8)
Y = np.array([0, 1, 2, 0, 1, 2])


@pytest.mark.parametrize("keys", [("X", "y"), ("images", "labels"), ("pictures", "target"), ("foo", "bar")])
def test_keys_are_guessed(tmp_path: Path, keys: tuple[str, str]) -> None:
    np.savez(tmp_path / "d.npz", **dict(zip(keys, (X, Y), strict=True)))
    listing = list_arrays(tmp_path / "d.npz")
    np.testing.assert_array_equal(np.stack(listing.items), X)
    assert listing.labels == Y.tolist() and listing.names[3] == "row 3"


def test_targets_groups_and_weights_can_be_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", X=X, y=Y, age=Y / 2, who=Y, w=Y + 1.0)
    listing = list_arrays(tmp_path / "d.npz", target="age", group="who", weight="w")
    assert listing.labels == (Y / 2).tolist() and listing.groups == ["0", "1", "2", "0", "1", "2"]
    assert listing.weights == (Y + 1.0).tolist()
    with pytest.raises(UsageError, match="group"):
        list_arrays(tmp_path / "d.npz", group="nobody")
    with pytest.raises(DataError, match="no array 'z'"):
        list_arrays(tmp_path / "d.npz", target="z")


def test_given_splits(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x_train=X[:4], y_train=Y[:4], x_test=X[4:], y_test=Y[4:])
    listing = list_arrays(tmp_path / "d.npz")
    assert listing.splits == ["train"] * 4 + ["test"] * 2 and listing.labels == Y.tolist()
    assert listing.names[4] == "row 0 of x_test"


def test_npy_with_its_targets_beside_it(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", X)
    with pytest.raises(DataError, match=r"y\.npy"):
        list_arrays(tmp_path / "x.npy")
    np.save(tmp_path / "y.npy", Y)
    assert list_arrays(tmp_path / "x.npy").labels == Y.tolist()


@pytest.mark.parametrize(
    ("pictures", "expected"),
    [
        (X, X),
        (X.transpose(0, 3, 1, 2), X),
        (X[..., 0], X[..., :1]),
        (X / 255.0, X),
        ((X / 255.0).astype(np.float32), X),
        (X.astype(np.uint16) * 257, X),
        (X.astype(np.int64), X),
        (X > 127, (X > 127) * 255),
        ((X[..., 0] // 16).clip(0, 15) + (X[..., 0] == 255) * 1.0, None),
    ],
)
def test_shapes_and_types_become_bytes(pictures: np.ndarray, expected: np.ndarray | None) -> None:
    stacked = np.stack(list_memory(pictures, Y).items)
    assert stacked.dtype == np.uint8
    if expected is not None:
        np.testing.assert_array_equal(stacked, expected)
    else:
        assert stacked.max() >= 239


def test_an_unusual_range_is_stated() -> None:
    digits = RNG.integers(0, 17, (6, 8, 8)).astype(float)
    digits[0, 0, 0] = 16
    listing = list_memory(digits, Y)
    assert max(item.max() for item in listing.items) == 255
    assert [note.code for note in listing.warnings] == ["unusual-range"] and "16" in listing.warnings[0].message


def test_several_targets_are_columns() -> None:
    listing = list_memory(X, np.eye(6)[:, :2])
    assert listing.columns == ("0", "1") and listing.labels[0] == (1.0, 0.0)


def test_lists_of_pictures_and_paths() -> None:
    listing = list_memory([X[0], "a/b.png"], ["cat", "dog"], group=["g", None], weight=[1, 2])
    assert listing.names == ["row 0", "a/b.png"] and listing.groups == ["g", None]
    with pytest.raises(UsageError, match="one value for each"):
        list_memory(X, Y, group=[1])


def test_arrays_that_do_not_fit_are_explained(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one target for each picture"):
        list_memory(X, Y[:3])
    with pytest.raises(DataError, match="shape"):
        list_memory(np.zeros((2, 9, 9, 9)), [0, 1])
    bad = np.zeros((3, 4, 4))
    bad[1, 0, 0] = np.nan
    with pytest.raises(DataError, match="rows 1"):
        list_memory(bad, [0, 1, 0])
    np.savez(tmp_path / "d.npz", y=Y)
    with pytest.raises(DataError, match="one array of pictures"):
        list_arrays(tmp_path / "d.npz")
    np.savez(tmp_path / "d.npz", X=X)
    with pytest.raises(DataError, match="one target for each"):
        list_arrays(tmp_path / "d.npz")


def test_objects_that_could_run_code_and_broken_files(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", X=X, y=np.array([{"a": 1}] * 6, dtype=object))
    with pytest.raises(DataError, match="run code"):
        list_arrays(tmp_path / "d.npz")
    (tmp_path / "b.npz").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(DataError, match=r"b\.npz"):
        list_arrays(tmp_path / "b.npz")
