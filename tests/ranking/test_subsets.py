"""Rounds and subsets: what many sources cost, nesting, strata, order."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transfuse.ranking.subsets import FINALISTS, least_examples, plan, stratified_order, subsets, taken


def cost(rounds):
    """Pictures extracted when every source keeps what it has seen."""
    total, before = 0, 0
    for part in rounds:
        total += part.sources * (part.examples - before)
        before = part.examples
    return total


@given(st.integers(2, 200_000), st.integers(1, 2000), st.integers(2, 5000))
def test_many_sources_cost_little_more_than_the_last_round(examples, sources, least):
    rounds = plan(examples, sources, least)
    assert rounds[-1].examples == examples and rounds[0].sources == sources
    sizes, seats = [part.examples for part in rounds], [part.sources for part in rounds]
    assert sizes == sorted(set(sizes)) and seats == sorted(seats, reverse=True)
    if len(rounds) > 1:
        assert sizes[0] >= least and seats[-1] == FINALISTS
        assert cost(rounds) <= 1.75 * FINALISTS * examples + 2 * sources * least
    elif sources > FINALISTS:
        assert examples < 2 * least


def test_a_hundred_sources_cost_little_more_than_ten():
    assert cost(plan(20_000, 100, 100)) < 1.4 * cost(plan(20_000, 10, 100))
    assert cost(plan(100_000, 1000, 100)) < 2 * cost(plan(100_000, 10, 100))
    assert cost(plan(2000, 100, 100)) < 10 * 2000


def test_few_sources_see_everything_at_once():
    assert [(part.examples, part.sources) for part in plan(5000, FINALISTS, 100)] == [(5000, FINALISTS)]
    assert [(part.examples, part.sources) for part in plan(150, 50, 100)] == [(150, 50)]


def test_the_rounds_written_out():
    rounds = plan(6400, 100, 100)
    assert [(part.examples, part.sources) for part in rounds] == [(100, 100), (800, 16), (6400, 4)]


@pytest.mark.parametrize("kind", ["single-label", "multi-label", "regression"])
def test_subsets_are_nested_and_pieces_make_them_up(tasks, kind):
    task = tasks[kind]
    parts = subsets(task, [20, 60], seed=0)
    assert [len(part) for part in parts] == [20, 60]
    assert parts[1].examples.digests[:20] == parts[0].examples.digests
    assert len(set(parts[1].examples.digests)) == 60 == len(set(task.splits["train"].digests))
    for part in parts:
        digests = [digest for piece in part.pieces for digest in piece.splits["train"].digests]
        assert tuple(digests) == part.examples.digests
    row = task.splits["train"].digests.index(parts[0].examples.digests[3])
    assert np.array_equal(parts[0].examples.targets[3], task.splits["train"].targets[row])
    assert np.array_equal(parts[0].examples.items[3], task.splits["train"].items[row])


def test_everything_at_once_is_the_split_as_it_is(task):
    (whole,) = subsets(task, [60], seed=0)
    assert whole.pieces == (task,) and whole.examples is task.splits["train"]
    assert sorted(whole.order) == list(range(60))


def test_every_beginning_has_the_classes_shares_and_two_of_each_first(task):
    rng = np.random.default_rng(0)
    rows = np.concatenate(
        [np.flatnonzero(task.splits["train"].targets == c)[:n] for c, n in ((0, 20), (1, 20), (2, 4))]
    )
    examples = taken(task.splits["train"], rng.permutation(rows))
    order = stratified_order(examples, "single-label", 0)
    assert np.bincount(examples.targets[order[:6]]).tolist() == [2, 2, 2]
    assert np.bincount(examples.targets[order[:22]]).tolist() == pytest.approx([10, 10, 2], abs=1)


def test_the_order_follows_the_examples_and_the_seed(task):
    examples = task.splits["train"]
    shuffled = taken(examples, np.random.default_rng(0).permutation(60))

    def names(part, seed):
        return [part.digests[row] for row in stratified_order(part, "single-label", seed)]

    assert names(examples, 0) == names(shuffled, 0) != names(examples, 1)


def test_labels_and_values_are_stratified(tasks):
    examples = tasks["multi-label"].splits["train"]
    first = examples.targets[stratified_order(examples, "multi-label", 0)[:16]]
    assert (first.sum(0) >= 4).all() and (first.sum(1) == 0).any()
    examples = tasks["regression"].splits["train"]
    values = examples.targets[stratified_order(examples, "regression", 0)[:20], 0]
    tenths = np.quantile(examples.targets[:, 0], np.linspace(0, 1, 11))
    assert np.histogram(values, tenths)[0].tolist() == [2] * 10


def test_the_fewest_that_tell_anything_grow_with_the_classes(task, tasks):
    assert least_examples(task) == 100 == least_examples(tasks["regression"])
