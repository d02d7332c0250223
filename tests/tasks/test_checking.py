import numpy as np
import pytest

from transfuse.core.errors import DataError
from transfuse.tasks.checking import copies_warnings, targets_warnings
from transfuse.tasks.listing import Listing
from transfuse.tasks.targets import Targets

PARTS = np.array(["train"] * 6 + ["valid"] * 2 + ["test"] * 2)
NO_PAIRS = np.empty((0, 2), np.int64)


def codes(targets: Targets, parts: np.ndarray = PARTS) -> dict[str, tuple[str, ...]]:
    return {warning.code: warning.places for warning in targets_warnings(targets, parts)}


def test_labels_that_are_always_or_never_present() -> None:
    values = np.zeros((10, 4), np.float32)
    values[:, 0] = 1
    values[::2, 1] = 1
    values[9, 3] = 1
    found = codes(Targets(kind="multi-label", classes=("always", "half", "never", "late"), values=values))
    assert found["class-always-present"] == ("always",)
    assert found["class-without-examples"] == ("never",)
    assert found["class-not-in-train"] == ("late",)
    assert found["small-class"] == ("half: 3",)


def test_a_constant_column_is_named_and_a_constant_target_refused() -> None:
    values = np.stack([np.arange(10.0), np.full(10, 3.0)], axis=1).astype(np.float32)
    assert codes(Targets(kind="regression", classes=("age", "flat"), values=values)) == {"constant-target": ("flat",)}
    with pytest.raises(DataError, match="'flat' must vary"):
        codes(Targets(kind="regression", classes=("flat",), values=values[:, 1:]))


def test_training_with_one_class_is_refused_though_test_has_two() -> None:
    values = np.array([0] * 8 + [0, 1])
    with pytest.raises(DataError, match="training split must hold at least two classes, but holds only 'a'"):
        codes(Targets(kind="single-label", classes=("a", "b"), values=values))


def test_a_split_that_lacks_a_class_is_named() -> None:
    found = targets_warnings(
        Targets(kind="single-label", classes=("a", "b"), values=np.array([0, 1] * 3 + [0, 1, 0, 0])), PARTS
    )
    (missing,) = [warning for warning in found if warning.code == "class-missing-in-split"]
    assert missing.places == ("b",) and "'test'" in missing.message


@pytest.mark.parametrize(
    ("kind", "values", "told"),
    [
        ("single-label", np.array([0, 1] * 5), "x0 (a) = x1 (b)"),
        ("multi-label", np.array([[1, 1], [0, 0]] * 5, np.float32), "x0 (a|b) = x1 (none)"),
        ("regression", np.array([[1.5, 2], [1, 2]] * 5, np.float32), "x0 (1.5, 2) = x1 (1, 2)"),
    ],
)
def test_equal_pictures_with_different_targets(kind, values: np.ndarray, told: str) -> None:
    names = [f"x{place}" for place in range(10)]
    listing = Listing(layout="test", items=names, names=names, labels=names)
    targets = Targets(kind=kind, classes=("a", "b"), values=values)
    (warning,) = copies_warnings(listing, targets, PARTS, np.array([[0, 1], [0, 2]]), NO_PAIRS)
    assert warning.code == "contradictory-labels" and warning.places == (told,)


def test_copies_inside_one_split_are_no_leak() -> None:
    names = [f"x{place}" for place in range(10)]
    listing = Listing(layout="test", items=names, names=names, labels=names)
    targets = Targets(kind="single-label", classes=("a", "b"), values=np.zeros(10, np.int64))
    found = copies_warnings(listing, targets, PARTS, np.array([[0, 1], [0, 9]]), np.array([[2, 3], [4, 6]]))
    assert {warning.code: warning.places for warning in found} == {
        "duplicate-across-splits": ("x0 (train) = x9 (test)",),
        "near-duplicate-across-splits": ("x4 (train) = x6 (valid)",),
    }
