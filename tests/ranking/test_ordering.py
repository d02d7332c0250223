"""The order: mean ranks, ties, what a prior may and may not do."""

import numpy as np
import pytest

from transfuse.ranking.looking import Look
from transfuse.ranking.ordering import ordered
from transfuse.ranking.priors import Prior


@pytest.fixture
def look_of(source_of):
    def make(name, probe, neighbours, metric="accuracy"):
        values = [{"value": value, "low": 0.0, "high": 1.0, "n": 10} for value in (probe, neighbours)]
        return Look(source=source_of(name), depth="final", metric=metric, probe=values[0], neighbours=values[1],
                    outputs_NC=np.zeros((0, 2)), features=1, parameters=1, megabytes=1.0)  # fmt: skip

    return make


def names(placed):
    return [part.look.name for part in placed]


def test_the_mean_of_both_ranks_decides_and_the_probe_breaks_ties(look_of):
    looks = [look_of("a", 0.7, 0.9), look_of("b", 0.9, 0.7), look_of("c", 0.8, 0.95), look_of("d", 0.1, 0.2)]
    placed = ordered(looks, {})
    assert names(placed) == ["c", "b", "a", "d"]
    assert [part.mean_rank for part in placed] == [1.5, 2.0, 2.5, 4.0]


def test_equal_ones_stay_in_the_order_given_and_the_undefined_comes_last(look_of):
    looks = [look_of("n", float("nan"), float("nan")), look_of("b", 0.5, 0.5), look_of("a", 0.5, 0.5)]
    assert names(ordered(looks, {})) == ["b", "a", "n"]


def test_smaller_errors_are_better(look_of):
    assert names(ordered([look_of("a", 3, 2, "rmse"), look_of("b", 1, 1, "rmse")], {})) == ["b", "a"]


def test_a_prior_turns_a_tie_but_not_what_both_votes_agree_on(look_of):
    split = [look_of("a", 0.9, 0.6), look_of("b", 0.8, 0.7)]
    agreed = [look_of("a", 0.9, 0.7), look_of("b", 0.8, 0.6)]
    priors = {"a": Prior(value=0.1, of="x"), "b": Prior(value=0.2, of="x")}
    assert names(ordered(split, {})) == names(ordered(agreed, {})) == ["a", "b"]
    assert names(ordered(split, priors)) == ["b", "a"]
    assert names(ordered(agreed, priors)) == ["a", "b"]


def test_a_prior_moves_only_those_that_have_one(look_of):
    looks = [look_of(name, value, value) for name, value in (("a", 0.9), ("b", 0.8), ("c", 0.7), ("d", 0.6))]
    priors = {"b": Prior(value=1, of="x"), "d": Prior(value=9, of="x")}
    placed = {part.look.name: part.mean_rank for part in ordered(looks, priors)}
    assert placed["a"] == 1 and placed["c"] == 3
    assert placed["b"] == pytest.approx((2 + 2 + 4) / 3) and placed["d"] == pytest.approx((4 + 4 + 2) / 3)


def test_a_single_prior_orders_nothing(look_of):
    looks = [look_of("a", 0.9, 0.9), look_of("b", 0.8, 0.8)]
    placed = ordered(looks, {"b": Prior(value=9, of="x")})
    assert [part.mean_rank for part in placed] == [1, 2]
