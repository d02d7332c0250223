"""Successive halving: short trials for all, longer ones for the better half."""

import math

import pytest

from transfuse.core.errors import UsageError
from transfuse.searching.halving import halve


def test_every_round_keeps_the_better_half():
    asked: list[tuple[str, int]] = []
    quality = {"a": 3.0, "b": 1.0, "c": 5.0, "d": 2.0}

    def score(candidate: str, effort: int) -> float:
        asked.append((candidate, effort))
        return quality[candidate]

    best, trials = halve("abcd", score, efforts=(10, 20, 40))
    assert asked == [("a", 10), ("b", 10), ("c", 10), ("d", 10), ("c", 20), ("a", 20), ("c", 40)]
    assert (best.candidate, best.effort, best.score) == ("c", 40, 5.0)
    assert [(trial.candidate, trial.effort) for trial in trials] == asked


def test_a_candidate_that_grows_with_effort_wins_when_it_survives():
    best, _ = halve([1, 2], lambda candidate, effort: effort * candidate if effort > 1 else -candidate, efforts=(1, 9))
    assert best.candidate == 1  # 2 was worse at the short trial: the price of halving
    best, _ = halve([1, 2, 3], lambda c, effort: -c if effort == 1 else c, efforts=(1, 9))
    assert best.candidate == 2


def test_an_odd_number_rounds_up():
    _, trials = halve(range(5), lambda candidate, effort: candidate, efforts=(1, 2))
    assert [trial.candidate for trial in trials if trial.effort == 2] == [4, 3, 2]


def test_a_tie_keeps_the_earlier():
    best, _ = halve("xyz", lambda candidate, effort: 0.0, efforts=(1, 2, 3))
    assert best.candidate == "x"


def test_one_candidate_is_tried_once():
    _, trials = halve(["only"], lambda candidate, effort: 1.0, efforts=(1, 2, 3))
    assert [trial.effort for trial in trials] == [1]


def test_failures_lose():
    best, _ = halve([1, 2, 3], lambda candidate, effort: -math.inf if candidate > 1 else 0.0, efforts=(1, 2))
    assert best.candidate == 1


@pytest.mark.parametrize("score", [-math.inf, math.nan, math.inf])
def test_nothing_finite_is_an_error(score: float):
    with pytest.raises(UsageError, match="None of the 2 candidates"):
        halve([1, 2], lambda candidate, effort: score, efforts=(1,))


def test_a_score_that_is_no_number_loses():
    best, _ = halve([1, 2, 3], lambda candidate, effort: math.nan if candidate == 1 else -candidate, efforts=(1, 2))
    assert best.candidate == 2


@pytest.mark.parametrize(("candidates", "efforts"), [([], [1]), ([1], [])])
def test_nothing_to_do_is_an_error(candidates: list, efforts: list):
    with pytest.raises(UsageError, match="at least one"):
        halve(candidates, lambda candidate, effort: 0.0, efforts=efforts)
