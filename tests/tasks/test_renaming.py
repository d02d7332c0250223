"""Classes of two tasks matched by name."""

import numpy as np
import pytest

from transfuse.core.errors import DataError
from transfuse.core.nouns import Examples, Kind, Task
from transfuse.tasks.renaming import in_classes_of, places_of


def task_of(targets: np.ndarray, classes: tuple[str, ...], kind: Kind = "single-label") -> Task:
    n = len(targets)
    names = tuple(f"{number}" for number in range(n))
    part = Examples(items=list(range(n)), targets=np.asarray(targets), digests=names, names=names)
    return Task(name="t", kind=kind, classes=classes, splits={"train": part}, seed=0, digest="".join(classes))


MINE = task_of(np.array([0, 1, 2]), ("cat", "dog", "eel"))


def test_equal_classes_are_left_alone() -> None:
    assert in_classes_of(MINE, MINE) == (MINE, ())


def test_another_order_and_another_spelling() -> None:
    found, lines = in_classes_of(task_of(np.array([0, 1, 2, 1]), ("Eel", "cat", "dog")), MINE)
    assert found.classes == MINE.classes
    assert found.splits["train"].targets.tolist() == [2, 0, 1, 0]
    assert lines == ("~ Eel: called eel here",)


def test_strange_classes_are_left_out_and_named() -> None:
    found, lines = in_classes_of(task_of(np.array([0, 1, 2, 2]), ("cat", "cow", "dog")), MINE)
    assert found.splits["train"].targets.tolist() == [0, 1, 1]
    assert found.splits["train"].items == [0, 2, 3]
    assert [line[:5] for line in lines] == ["- cow", "+ eel"]


def test_two_that_could_both_be_meant_are_not_guessed() -> None:
    assert places_of(["A b", "A-b", "c"], ["ab", "C"]) == [None, None, 1]


def test_labels_are_reordered() -> None:
    mine = task_of(np.array([[1, 0], [0, 1]], np.float32), ("red", "big"), "multi-label")
    other = task_of(np.array([[0, 1], [1, 1]], np.float32), ("big", "red"), "multi-label")
    found, _ = in_classes_of(other, mine)
    assert found.splits["train"].targets.tolist() == [[1, 0], [1, 1]]


def test_too_little_in_common() -> None:
    with pytest.raises(DataError, match="share two classes"):
        in_classes_of(task_of(np.array([0, 1]), ("cat", "cow")), MINE)
    with pytest.raises(DataError, match="must be single-label"):
        in_classes_of(task_of(np.array([[1.0], [2.0]]), ("cat",), "regression"), MINE)
