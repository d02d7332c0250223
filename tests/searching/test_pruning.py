"""Giving up: the same decisions as Optuna's pruners, and the same when they are taken again."""

import math

import numpy as np
import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transfuse.searching.pruning import Rival, _rungs, _start, gives_up
from transfuse.searching.strategies import Strategy

EFFORT = 30


def curves(seed: int, trials: int) -> np.ndarray:
    """Noisy curves (trials, efforts 1..30) of whole numbers, so that there are ties and means are exact."""
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(trials, 1)) - rng.uniform(0, 3, (trials, 1)) / np.arange(1, EFFORT + 1)
    return np.round(10 * values + rng.normal(size=(trials, EFFORT)))


def ours(strategy: Strategy, values: np.ndarray, every: int) -> list[int]:
    """How far each trial came."""
    rivals: list[Rival] = []
    for number, row in enumerate(values):
        reports: dict[int, float] = {}
        for effort in range(every, EFFORT + 1, every):
            reports[effort] = float(row[effort - 1])
            if gives_up(strategy, number, reports, effort, rivals):
                break
        rivals.append(Rival(number=number, reports=reports, finished=max(reports) == EFFORT))
    return [max(rival.reports) for rival in rivals]


def optunas(pruner: optuna.pruners.BasePruner, values: np.ndarray, every: int) -> list[int]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(direction="maximize", pruner=pruner)
    reached = []
    for row in values:
        trial = study.ask()
        for effort in range(every, EFFORT + 1, every):
            trial.report(float(row[effort - 1]), effort)
            if effort < EFFORT and trial.should_prune():
                study.tell(trial, state=optuna.trial.TrialState.PRUNED)
                break
        else:
            study.tell(trial, -1.0)
        reached.append(effort)
    return reached


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 9999), steps=st.sampled_from([(1, 1), (1, 2), (2, 1), (2, 3), (2, 4), (4, 5)]))
def test_halving_is_optunas(seed, steps):
    first, every = steps  # no report passes two rungs
    values = curves(seed, 25)
    values[np.random.default_rng(seed).random(25) < 0.1, seed % EFFORT :] = np.nan
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=first, reduction_factor=3)
    strategy = Strategy(trials=25, effort=EFFORT, first_effort=first, pruner="halving")
    assert ours(strategy, values, every) == optunas(pruner, values, every)


@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 9999), first=st.sampled_from([1, 2, 4]))
def test_the_median_is_optunas(seed, first):
    values = curves(seed, 20)
    pruner = optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=first)
    strategy = Strategy(trials=20, effort=EFFORT, first_effort=first, pruner="median")
    assert ours(strategy, values, 1) == optunas(pruner, values, 1)


def test_hyperband_has_ladders_in_the_papers_proportions():
    strategy = Strategy(trials=1, effort=243, first_effort=3, pruner="hyperband", seed=1)
    starts = [_start(strategy, number) for number in range(4000)]
    # R / r = 81, s_max = 4: brackets of ceil(5 * 3^s / (s + 1)) trials, s = 4 ... 0
    expected = {3: 81, 9: 34, 27: 15, 81: 8, 243: 5}
    for start, share in expected.items():
        assert starts.count(start) / 4000 == pytest.approx(share / 143, abs=0.025)
    assert set(starts) == set(expected)
    assert [_rungs(start, 243) for start in (3, 81, 243)] == [[3, 9, 27, 81], [81], []]


def test_hyperband_judges_within_a_ladder():
    strategy = Strategy(trials=1, effort=27, first_effort=1, pruner="hyperband")
    start = _start(strategy, 50)
    same = [n for n in range(50) if _start(strategy, n) == start]
    others = [n for n in range(50) if _start(strategy, n) != start]
    assert same and others and start < 27

    def judged(numbers):
        rivals = [Rival(number=n, reports={start: 1.0}, finished=False) for n in numbers]
        return gives_up(strategy, 50, {start: 0.0}, start, rivals)

    assert judged(same) and not judged(others)


@pytest.mark.parametrize("pruner", ["halving", "hyperband", "median"])
def test_a_decision_can_be_taken_again(pruner):
    """A trial that is resumed has reports beyond the effort that it comes to again."""
    strategy = Strategy(trials=20, effort=EFFORT, pruner=pruner, seed=2)
    values = curves(3, 12)
    reached = ours(strategy, values, 1)
    rivals = [
        Rival(number=n, reports=dict(enumerate(values[n, : reached[n]], 1)), finished=reached[n] == EFFORT)
        for n in range(11)
    ]
    reports = dict(enumerate(map(float, values[11]), 1))
    once = [gives_up(strategy, 11, {e: reports[e] for e in range(1, at + 1)}, at, rivals) for at in reports]
    again = [gives_up(strategy, 11, reports, at, rivals) for at in reports]
    assert once == again and not once[-1]


def test_what_is_no_number_is_given_up_and_beats_nobody():
    strategy = Strategy(trials=1, effort=9, pruner="halving")
    assert gives_up(strategy, 0, {1: math.nan}, 1, [])
    assert not gives_up(strategy, 1, {1: -5.0}, 1, [Rival(number=0, reports={1: math.nan}, finished=False)])
    assert not gives_up(Strategy(trials=1, effort=9), 0, {1: math.nan}, 1, [])
