"""Folds: stratified, groups whole, independent of the order of rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transfuse.probing.folds import assign_folds


def drawn(n, c, seed):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, 2)), np.eye(c)[rng.integers(0, c, n)]


@settings(deadline=None, max_examples=40)
@given(n=st.integers(20, 120), c=st.integers(2, 5), k=st.integers(2, 6), seed=st.integers(0, 99))
def test_every_class_is_spread_evenly(n, c, k, seed):
    x, member = drawn(n, c, seed)
    fold = assign_folds(x, member, k, seed, None)
    k = fold.max() + 1
    table = np.array([member[fold == f].sum(0) for f in range(k)])
    assert (table.max(0) - table.min(0) <= 1).all()
    assert np.ptp(np.bincount(fold, minlength=k)) <= 1


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 999), grouped=st.booleans())
def test_the_order_of_rows_does_not_matter(seed, grouped):
    x, member = drawn(40, 3, seed)
    groups = [f"g{i % 11}" for i in range(40)] if grouped else None
    fold = assign_folds(x, member, 5, 7, groups)
    order = np.random.default_rng(seed).permutation(40)
    moved = assign_folds(x[order], member[order], 5, 7, [groups[i] for i in order] if groups else None)
    assert (moved == fold[order]).all()


def test_another_seed_gives_other_folds():
    x, member = drawn(60, 3, 0)
    assert (assign_folds(x, member, 5, 0, None) != assign_folds(x, member, 5, 1, None)).any()


def test_groups_stay_whole_and_folds_balanced():
    rng = np.random.default_rng(3)
    groups = [f"patient {i}" for i in rng.integers(0, 30, 300)]
    x, member = drawn(300, 3, 3)
    fold = assign_folds(x, member, 5, 0, groups)
    for name in set(groups):
        assert len(set(fold[[g == name for g in groups]])) == 1
    assert np.bincount(fold).min() > 40
    table = np.array([member[fold == f].mean(0) for f in range(5)])
    assert np.ptp(table, axis=0).max() < 0.2


def test_multi_label_examples_are_spread_by_their_labels():
    rng = np.random.default_rng(4)
    member = (rng.random((200, 4)) < [0.5, 0.2, 0.1, 0.05]).astype(float)
    fold = assign_folds(rng.normal(size=(200, 3)), member, 5, 0, None)
    table = np.array([member[fold == f].sum(0) for f in range(5)])
    assert (table.max(0) - table.min(0) <= 3).all()
    assert table.min() >= 1


@pytest.mark.parametrize(("n", "expected"), [(1, 1), (2, 2), (3, 3), (50, 5)])
def test_few_examples_reduce_the_folds(n, expected):
    assert assign_folds(np.arange(2.0 * n).reshape(n, 2), None, 5, 0, None).max() + 1 == expected


def test_few_examples_a_class_reduce_the_folds():
    member = np.eye(10)[np.repeat(np.arange(10), 3)]
    assert assign_folds(np.random.default_rng(0).normal(size=(30, 2)), member, 5, 0, None).max() + 1 == 3


def test_one_group_cannot_be_divided():
    x, member = drawn(20, 2, 0)
    assert (assign_folds(x, member, 5, 0, ["only"] * 20) == 0).all()
