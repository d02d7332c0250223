import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transfuse.checking.labels import read, written
from transfuse.core.errors import DataError, UnknownName

CLASSES = ("cat", "dog", "eel")


@given(st.integers(0, 2))
def test_a_class_there_and_back(place):
    assert read("single-label", CLASSES, written("single-label", CLASSES, np.int64(place))) == place


@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=3, max_size=3))
def test_several_classes_there_and_back(values):
    target = np.array(values, np.float32)
    assert (read("multi-label", CLASSES, written("multi-label", CLASSES, target)) == target).all()


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=2, max_size=2))
def test_numbers_there_and_back_without_loss(values):
    target = np.array(values, np.float32)
    assert (read("regression", ("a", "b"), written("regression", ("a", "b"), target)) == target).all()


def test_texts_are_those_that_people_write():
    assert written("multi-label", CLASSES, np.array([1.0, 0, 1])) == "cat|eel"
    assert written("multi-label", CLASSES, np.zeros(3)) == "none"
    assert written("regression", ("a", "b"), np.array([0.1, 12], np.float32)) == "0.1, 12"


def test_what_cannot_be_meant_is_refused():
    with pytest.raises(UnknownName, match="Did you mean 'dog'"):
        read("single-label", CLASSES, "dgo")
    with pytest.raises(DataError, match=r"2 number\(s\), separated by commas, but is '3'"):
        read("regression", ("a", "b"), "3")
    with pytest.raises(DataError, match="but is 'nan'"):
        read("regression", ("a",), "nan")
