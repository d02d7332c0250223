import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transfuse.tasks.splitting import joined, split

SHARES = (0.6, 0.2, 0.2)


def names(count: int) -> list[str]:
    return [f"digest-{place}" for place in range(count)]


def test_single_labels_are_stratified_exactly() -> None:
    targets = np.repeat([0, 1, 2], [50, 100, 10])
    parts = split(SHARES, targets, "single-label", names(160), 0)
    assert [np.bincount(parts[targets == c]).tolist() for c in range(3)] == [[30, 10, 10], [60, 20, 20], [6, 2, 2]]


@settings(max_examples=30)
@given(st.lists(st.integers(0, 4), min_size=8, max_size=60), st.randoms(use_true_random=False), st.booleans())
def test_the_order_of_examples_does_not_matter(targets: list[int], random, grouped: bool) -> None:
    keys, order = names(len(targets)), list(range(len(targets)))
    random.shuffle(order)
    units = np.array([place // 3 for place in order]) if grouped else None
    straight = split(
        SHARES, np.array(targets), "single-label", keys, 7, None if units is None else np.arange(len(order)) // 3
    )
    mixed = split(SHARES, np.array(targets)[order], "single-label", [keys[place] for place in order], 7, units)
    assert straight[order].tolist() == mixed.tolist()


def test_another_seed_gives_other_splits_the_same_seed_the_same() -> None:
    targets = np.arange(100) % 2
    first = split(SHARES, targets, "single-label", names(100), 0)
    assert (first == split(SHARES, targets, "single-label", names(100), 0)).all()
    assert (first != split(SHARES, targets, "single-label", names(100), 1)).any()


def test_every_class_keeps_a_training_example_and_small_classes_fill_every_part() -> None:
    targets = np.repeat(np.arange(200), 2)
    parts = split(SHARES, targets, "single-label", names(400), 0)
    assert len(np.unique(targets[parts == 0])) == 200
    assert np.bincount(parts)[1:].tolist() == [80, 80]


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_groups_never_straddle_and_shares_are_near(seed: int) -> None:
    rng = np.random.default_rng(seed)
    units, targets = rng.integers(0, 60, 400), rng.integers(0, 3, 400)
    parts = split(SHARES, targets, "single-label", names(400), seed, units)
    assert all(len(np.unique(parts[units == unit])) == 1 for unit in np.unique(units))
    np.testing.assert_allclose(np.bincount(parts, minlength=3) / 400, SHARES, atol=0.04)


def test_multi_labels_keep_the_share_of_rare_ones() -> None:
    rng = np.random.default_rng(0)
    targets = (rng.random((500, 4)) < [0.8, 0.4, 0.1, 0.04]).astype(np.float32)
    parts = split(SHARES, targets, "multi-label", names(500), 0)
    for label in range(4):
        having = np.bincount(parts[targets[:, label] == 1], minlength=3)
        np.testing.assert_allclose(having / having.sum(), SHARES, atol=0.06)
    np.testing.assert_allclose(np.bincount(parts) / 500, SHARES, atol=0.03)


def test_regression_targets_are_spread_alike() -> None:
    values = np.random.default_rng(0).exponential(size=(500, 1)).astype(np.float32)
    parts = split(SHARES, values, "regression", names(500), 0)
    quantiles = [np.quantile(values[parts == part], [0.1, 0.5, 0.9]) for part in range(3)]
    np.testing.assert_allclose(quantiles[1], quantiles[0], rtol=0.25)
    np.testing.assert_allclose(quantiles[2], quantiles[0], rtol=0.25)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_very_few_examples_do_not_crash(count: int) -> None:
    assert len(split(SHARES, np.zeros(count, np.int64), "single-label", names(count), 0)) == count
    assert len(split(SHARES, np.zeros((count, 1), np.float32), "regression", names(count), 0)) == count


def test_joined_by_pairs_and_groups() -> None:
    units = joined(6, np.array([[0, 1], [4, 5]]), ["a", None, "b", "a", None, "b"])
    assert len({units[0], units[1], units[3]}) == 1 and len({units[2], units[4], units[5]}) == 1
    assert units[0] != units[2]
    assert len(set(joined(3, np.empty((0, 2), np.int64)))) == 3
