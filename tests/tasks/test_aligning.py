"""What one task is tested on, no other learns from."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transfuse.core.errors import DataError
from transfuse.core.nouns import Examples, Task
from transfuse.tasks.aligning import aligned

SPLITS = ("train", "valid", "test")


def task(name: str, **places: list[int]) -> Task:
    """Examples by number; the target of each is its number."""
    splits = {
        split: Examples(
            items=numbers,
            targets=np.array(numbers, int),
            digests=tuple(f"digest {n}" for n in numbers),
            names=tuple(f"row {n}" for n in numbers),
        )
        for split, numbers in places.items()
    }
    return Task(name=name, kind="single-label", classes=("a", "b"), splits=splits, seed=0, digest=name)


@given(st.permutations(range(9)), st.permutations(range(3, 12)))
def test_no_example_is_learnt_from_by_one_and_tested_on_by_another(ours: list[int], theirs: list[int]):
    a = task("a", train=ours[:5], valid=ours[5:7], test=ours[7:])
    b = task("b", train=theirs[:5], valid=theirs[5:7], test=theirs[7:])
    try:
        first, second = aligned([a, b])
    except DataError:
        return  # all of a split belongs elsewhere
    assert first is a
    for split in SPLITS:
        others = {digest for other in SPLITS if other != split for digest in first.splits[other].digests}
        assert not others & set(second.splits[split].digests)
    everything = sorted(int(y) for examples in second.splits.values() for y in examples.targets)
    assert everything == sorted(theirs)
    assert all(list(ex.items) == ex.targets.tolist() for ex in second.splits.values())


def test_the_same_examples_come_in_the_same_order_and_the_moved_ones_are_named():
    a = task("a", train=[4, 2, 0], valid=[1], test=[3])
    b = task("b", train=[0, 1, 2], valid=[3], test=[4])
    first, second = aligned([a, b])
    assert all(first.splits[split].digests == second.splits[split].digests for split in SPLITS)
    (note,) = second.warnings
    assert note.code == "split-alike" and set(note.places) == {"row 1", "row 3", "row 4"} and note.severity == "note"
    assert second.digest != b.digest


def test_tasks_with_nothing_in_common_stay_as_they_are():
    tasks = [task("a", train=[0], valid=[1]), task("b", train=[2], valid=[3])]
    assert all(one is same for one, same in zip(aligned(tasks), tasks, strict=True))


def test_what_others_are_tested_on_is_not_learnt_from_where_there_is_no_test_split():
    _, second = aligned([task("a", train=[0], valid=[1], test=[2]), task("b", train=[2, 3], valid=[4])])
    assert list(second.splits["train"].items) == [3] and set(second.splits["valid"].items) == {2, 4}


def test_a_split_that_would_be_empty_is_refused():
    with pytest.raises(DataError, match="'test' split of 'b' must keep examples"):
        aligned([task("a", train=[0, 2], valid=[1]), task("b", train=[3], valid=[4], test=[2])])
