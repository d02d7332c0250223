import numpy as np

from transfuse.core.nouns import Examples
from transfuse.tasks.joining import concatenated, taken


def part(start: int, **options) -> Examples:
    names = tuple(f"{start + row}" for row in range(3))
    return Examples(items=list(names), targets=np.arange(start, start + 3), digests=names, names=names, **options)


def test_parts_stand_one_after_another():
    found = concatenated(part(0), part(3), part(6))
    assert found.names == tuple(map(str, range(9))) and found.targets.tolist() == list(range(9))
    assert found.weights is None and found.groups is None


def test_weights_are_one_where_none_are_given_and_groups_are_needed_by_all():
    found = concatenated(part(0, weights=np.array([2.0, 3, 4], np.float32), groups=("a", "b", "c")), part(3))
    assert found.weights is not None and found.weights.tolist() == [2, 3, 4, 1, 1, 1]
    assert found.groups is None


def test_examples_are_taken_in_the_order_asked_for():
    found = taken(part(0, groups=("a", "b", "c"), weights=np.array([1, 2, 3], np.float32)), np.array([2, 0]))
    assert found.names == ("2", "0") and found.groups == ("c", "a") and found.weights.tolist() == [3, 1]
