from typing import Any

import numpy as np
import pytest

from transfuse.core.errors import DataError, UnknownName
from transfuse.tasks.listing import Listing
from transfuse.tasks.targets import encode, encode_as, guess_kind, without_missing


def listing(labels: list[Any], **options: Any) -> Listing:
    names = [f"n{place}" for place in range(len(labels))]
    return Listing(layout="test", items=names, names=names, labels=labels, **options)


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (["cat", "dog"], "single-label"),
        ([3, 1, 3], "single-label"),
        ([1.0, 0.0, 1.0], "single-label"),
        ([True, False], "single-label"),
        ([0.5, 1.0], "regression"),
        (list(range(18, 90)), "regression"),
        (list(range(30)) * 20, "single-label"),
        (["RBC|WBC", "RBC"], "multi-label"),
        (["a; b", "a"], "multi-label"),
        ([["a"], []], "multi-label"),
    ],
)
def test_the_kind_is_guessed_stated_and_can_be_overridden(labels: list[Any], kind: str) -> None:
    assert guess_kind(listing(labels))[0] == kind
    _, notes = encode(listing(labels))
    assert [note.code for note in notes] == ["kind-guessed"] and kind in notes[0].message
    assert encode(listing(labels), kind)[1] == ()


def test_columns_of_zero_and_one_are_labels_other_numbers_are_regression() -> None:
    assert guess_kind(listing([(0, 1), (1, 1)], columns=("a", "b")))[0] == "multi-label"
    assert guess_kind(listing([(0, 1.5), (1, 1)], columns=("a", "b")))[0] == "regression"


def test_single_labels_are_numbered_in_natural_order() -> None:
    targets, _ = encode(listing(["10", "9", "10", "a"]))
    assert targets.classes == ("9", "10", "a") and targets.values.tolist() == [1, 0, 1, 2]
    assert targets.values.dtype == np.int64
    assert encode(listing([2.0, 1, 2]))[0].classes == ("1", "2")
    assert encode(listing([True, False]))[0].classes == ("false", "true")


@pytest.mark.parametrize(
    "labels",
    [["a|b", "b", "a | b"], [["a", "b"], ["b"], ["b", "a"]], ['["a", "b"]', "b", "[a, b]"], ["a;b;", "b", "a;b;a"]],
)
def test_multi_labels_in_every_spelling(labels: list[Any]) -> None:
    targets, _ = encode(listing(labels), "multi-label")
    assert targets.classes == ("a", "b")
    assert targets.values.tolist() == [[1, 1], [0, 1], [1, 1]] and targets.values.dtype == np.float32


def test_multi_labels_from_columns() -> None:
    targets, _ = encode(listing([(0, 1), (1, 1), (0, 0)], columns=("z", "a")))
    assert targets.classes == ("z", "a") and targets.values.tolist() == [[0, 1], [1, 1], [0, 0]]
    with pytest.raises(DataError, match="0 or 1"):
        encode(listing([(0, 2)], columns=("z", "a")), "multi-label")


def test_one_hot_columns_are_single_labels_when_asked() -> None:
    assert encode(listing([(0, 1), (1, 0)], columns=("z", "a")), "single-label")[0].values.tolist() == [1, 0]
    with pytest.raises(DataError, match="n0 holds 1, 1"):
        encode(listing([(1, 1)], columns=("z", "a")), "single-label")


def test_regression() -> None:
    targets, _ = encode(listing([1.5, 2, "3"], description={"target": "age"}), "regression")
    assert targets.classes == ("age",) and targets.values.tolist() == [[1.5], [2], [3]]
    assert encode(listing([(1.5, 2)], columns=("x", "y")))[0].values.shape == (1, 2)
    with pytest.raises(DataError, match="'tall' was found"):
        encode(listing([1, "tall"]), "regression")
    with pytest.raises(DataError, match="n1"):
        encode(listing([1, float("inf")]), "regression")


def test_missing_targets_and_weights_are_left_out_and_named() -> None:
    labels = ["a", None, float("nan"), " ", "b", []]
    kept = without_missing(listing(labels))
    assert kept.labels == ["a", "b", []]
    assert [(w.code, w.places) for w in kept.warnings] == [("missing-target", ("n1", "n2", "n3"))]
    weighted = without_missing(listing(["a"] * 4, weights=[1.0, None, -1.0, float("inf")]))
    assert [(w.code, w.places) for w in weighted.warnings] == [("bad-weight", ("n1", "n2", "n3"))]
    assert without_missing(listing([(1, None), (1, 2)], columns=("a", "b"))).labels == [(1, 2)]
    with pytest.raises(DataError, match="nothing to learn"):
        without_missing(listing([None]))


def test_targets_in_a_models_order() -> None:
    assert encode_as(listing(["a", "c"]), "single-label", ("c", "b", "a")).values.tolist() == [2, 0]
    with pytest.raises(DataError, match=r"knows the classes 'c', 'b'.*labelled 'a'"):
        encode_as(listing(["a", "c"]), "single-label", ("c", "b"))
    with pytest.raises(DataError, match=r"gives 2 number\(s\)"):
        encode_as(listing([1.5]), "regression", ("x", "y"))


def test_an_unknown_kind_names_the_known_ones() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'regression'"):
        encode(listing(["a"]), "regresion")
