"""The search: finds, gives up what is poor, keeps to its time, repeats itself."""

import math
import time

import pytest

from transfuse.core.errors import BudgetError, UnknownName, UsageError
from transfuse.core.runs import Run
from transfuse.searching.search import Found, search
from transfuse.searching.space import Choice, Real, Whole, grid
from transfuse.searching.strategies import Strategy

SPACE = {
    "rate": Real(low=1e-5, high=1.0, log=True),
    "optimizer": Choice(values=("adamw", "sgd", "lion")),
    "momentum": Real(low=0, high=1, when={"optimizer": ("sgd",)}),
    "layers": Whole(low=0, high=6),
}
PENALTY = {"adamw": 0.0, "sgd": 0.5, "lion": 1.0}


def score(options, effort, report):
    """Highest, 0, at a rate of 0.01 with adamw and 4 layers."""
    total = -abs(math.log10(options["rate"]) + 2) - PENALTY[options["optimizer"]] - abs(options["layers"] - 4) / 4
    for done in range(1, effort + 1):
        report(done, total - 1 / done)
    return total - 1 / effort + options.get("momentum", 0.0) * 0


def in_short(found: Found) -> list:
    return [(a.number, a.options, a.outcome, a.score, a.effort, dict(a.reports)) for a in found.attempts]


def test_it_does_better_than_chance():
    def best(sampler, seed):
        return search(score, SPACE, Strategy(trials=40, sampler=sampler, seed=seed)).best.score

    tpe, chance = ([best(sampler, seed) for seed in range(4)] for sampler in ("tpe", "random"))
    assert sum(tpe) > sum(chance) and min(tpe) > -2.0


@pytest.mark.parametrize("pruner", ["halving", "hyperband", "median"])
def test_giving_up_spares_effort_and_finds_as_much(pruner):
    whole = search(score, SPACE, Strategy(trials=30, effort=27, seed=1, sampler="random"))
    spared = search(score, SPACE, Strategy(trials=30, effort=27, seed=1, sampler="random", pruner=pruner))
    assert sum(a.effort for a in spared.attempts) < 0.75 * sum(a.effort for a in whole.attempts)
    assert [a.options for a in spared.attempts] == [a.options for a in whole.attempts]
    top = sorted(whole.attempts, key=lambda a: -a.score)[:3]
    assert spared.best.options in [a.options for a in top]
    assert all((a.outcome == "finished" and a.effort == 27) or a.effort < 27 for a in spared.attempts)


def test_halving_keeps_the_best_third_of_those_that_came():
    """By hand, after arXiv 1810.05934: a value goes on where it is in the top n // 3 (at least 1) so far."""
    values = [5, 1, 6, 4, 7, 2, 3, 8, 0]
    expected, seen = [], []
    for value in values:
        seen.append(value)
        expected.append("finished" if value in sorted(seen, reverse=True)[: max(1, len(seen) // 3)] else "pruned")

    def constant(options, effort, report):
        report(1, options["a"])
        return options["a"]

    space = {"a": Choice(values=tuple(values))}
    found = search(
        constant, space, Strategy(trials=9, effort=2, pruner="halving"), first=[{"a": value} for value in values]
    )
    assert [a.outcome for a in found.attempts] == expected
    assert found.best.score == 8


def test_it_is_a_function_of_its_seed():
    strategy = Strategy(trials=20, effort=9, pruner="hyperband", seed=3)
    once, again = search(score, SPACE, strategy), search(score, SPACE, strategy)
    assert in_short(once) == in_short(again)
    other = search(score, SPACE, Strategy(trials=20, effort=9, pruner="hyperband", seed=4))
    assert [a.options for a in other.attempts] != [a.options for a in once.attempts]


def test_a_longer_search_begins_as_a_shorter_one():
    short, long = (search(score, SPACE, Strategy(trials=n, seed=5)) for n in (12, 24))
    assert in_short(long)[:12] == in_short(short)


def test_first_options_come_first_and_may_be_partial():
    first = [{"rate": 0.01, "optimizer": "adamw", "layers": 4}, {"optimizer": "sgd"}]
    found = search(score, SPACE, Strategy(trials=4), first=first)
    assert found.attempts[0].options == first[0] and found.attempts[1].options["optimizer"] == "sgd"
    assert "momentum" in found.attempts[1].options and found.best.number == 0


def test_a_grid_is_searched_whole():
    space = {"a": Choice(values=("x", "y")), "b": Whole(low=1, high=3)}
    points = grid(space, 3)
    found = search(lambda o, effort, report: o["b"], space, Strategy(trials=len(points)), first=points)
    assert [a.options for a in found.attempts] == points
    assert (found.best.options, found.stopped_by) == ({"a": "x", "b": 3}, "trials")


def test_options_that_come_up_again_are_not_tried_again():
    calls = []
    space = {"a": Choice(values=(1, 2, 3))}
    found = search(lambda o, effort, report: calls.append(o["a"]) or o["a"], space, Strategy(trials=25))
    assert len(calls) == len(set(calls)) and len(found.attempts) == 25
    assert found.best.score == 3


@pytest.mark.parametrize("failure", [math.nan, -math.inf, math.inf])
def test_failures_lose_and_teach(failure):
    def failing(options, effort, report):
        return failure if options["rate"] > 0.05 else options["rate"]

    found = search(failing, {"rate": Real(low=1e-3, high=1, log=True)}, Strategy(trials=40))
    assert 0.02 < found.best.score <= 0.05
    failed = [a.outcome == "failed" for a in found.attempts]
    assert all(a.score == -math.inf for a in found.attempts if a.outcome == "failed")
    assert 0 < sum(failed[20:]) < sum(failed[:10]) + 10  # it learns where not to look
    with pytest.raises(UsageError, match="None of the 3 trials"):
        search(lambda o, effort, report: failure, {"a": Choice(values=(1, 2))}, Strategy(trials=3))


def test_a_score_that_is_no_number_on_the_way_is_given_up():
    def diverging(options, effort, report):
        report(1, math.nan if options["a"] == 2 else 1.0)
        return options["a"]

    strategy = Strategy(trials=2, effort=3, pruner="halving")
    found = search(diverging, {"a": Choice(values=(1, 2))}, strategy, first=[{"a": 1}, {"a": 2}])
    assert [a.outcome for a in found.attempts] == ["finished", "pruned"] and found.best.score == 1


def test_it_stops_before_the_deadline():
    def slow(options, effort, report):
        time.sleep(0.2)
        return 1.0

    began = time.monotonic()
    space = {"x": Real(low=0, high=1)}
    found = search(slow, space, Strategy(trials=50), run=Run(deadline=time.monotonic() + 0.7))
    assert found.stopped_by == "deadline" and 1 <= len(found.attempts) <= 3 and time.monotonic() - began < 5
    with pytest.raises(BudgetError, match="None of 50 trials"):
        search(slow, space, Strategy(trials=50), run=Run(deadline=time.monotonic()))


def test_it_says_how_far_it_is():
    events: list = []
    search(score, SPACE, Strategy(trials=3), run=Run(watch=events.append))
    assert [(event["stage"], event["done"], event["total"]) for event in events] == [
        ("search", n, 3) for n in (1, 2, 3)
    ]


@pytest.mark.parametrize("effort", [-1, 4])
def test_a_report_beyond_the_effort_is_refused(effort):
    with pytest.raises(UsageError, match="from 0 to 3"):
        search(lambda o, e, report: report(effort, 1.0), SPACE, Strategy(trials=1, effort=3))


@pytest.mark.parametrize("wrong", [{"trials": 0}, {"effort": 0}, {"first_effort": -1}, {"first_effort": 2}])
def test_strategies_of_another_form_are_refused(wrong):
    with pytest.raises(UsageError, match="must be at"):
        Strategy(**{"trials": 1, **wrong})


def test_unknown_names_are_explained():
    with pytest.raises(UnknownName, match="Did you mean 'halving'"):
        Strategy(trials=1, pruner="halfing")
    with pytest.raises(UnknownName, match="Known: cmaes, random, tpe"):
        Strategy(trials=1, sampler="grid")
    with pytest.raises(UnknownName, match="Did you mean 'rate'"):
        search(score, SPACE, Strategy(trials=1), first=[{"rat": 1e-3}])


def test_cmaes_climbs_repeats_itself_and_stays_in_memory(tmp_path):
    space = {name: Real(low=0.0, high=1.0) for name in "abcd"}

    def bowl(options, effort, report):
        return -sum((value - 0.3) ** 2 for value in options.values())

    found = [search(bowl, space, Strategy(trials=120, sampler="cmaes", seed=3)) for _ in range(2)]
    chance = search(bowl, space, Strategy(trials=120, sampler="random", seed=3))
    assert found[0].best.score > -1e-3 > chance.best.score and in_short(found[0]) == in_short(found[1])
    with pytest.raises(UsageError, match="in memory"):
        search(bowl, space, Strategy(trials=2, sampler="cmaes"), run=Run(checkpoints=tmp_path))
