"""Which trials are given up before they have spent their effort.

- `halving`: a trial is judged at efforts r, 3r, 9r ...; it goes on while its score there is among the best third of
  those that came so far, or is the best of the first two. Asynchronous successive halving: Li et al., arXiv 1810.05934.
- `hyperband`: several such ladders, which begin at r, 3r, 9r ..., and more trials on those that begin early; for scores
  that say little early on. Li et al., arXiv 1603.06560.
- `median`: a trial goes on while its best score is at least the median that finished trials had at the same effort.
  Golovin et al., "Google Vizier", KDD 2017.

The rules are Optuna's, with which the tests compare them. Optuna's own pruners write that a trial has come to a rung
before the trial is ended; a process that is killed in between forgets that it was to be given up. Here a decision is a
function of what was reported, so that it is the same when it is taken again. (A report that passes several rungs at
once is judged at the highest of them.)
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from transfuse.core.randomness import key
from transfuse.searching.strategies import Strategy

_KEPT = 3
"""One in three goes on, as in the papers of halving and Hyperband."""
_SHARE = 27
"""The first effort is this share of the whole where none is given: three decisions."""
_MEDIAN_OF = 4
"""Finished trials before a median means something."""


@dataclass(frozen=True, kw_only=True)
class Rival:
    """Another trial."""

    number: int
    reports: Mapping[int, float]
    finished: bool
    """True when it spent its whole effort."""


def gives_up(
    strategy: Strategy, number: int, reports: Mapping[int, float], effort: int, rivals: Sequence[Rival]
) -> bool:
    """Whether trial `number` ends at `effort`, judged by its reports up to there. Never at the whole effort."""
    own = {at: value for at, value in reports.items() if at <= effort}
    if strategy.pruner == "none" or effort >= strategy.effort:
        return False
    if strategy.pruner == "median":
        return _below_median(own, effort, rivals, _first(strategy))
    start = _start(strategy, number)
    if strategy.pruner == "hyperband":
        rivals = [rival for rival in rivals if _start(strategy, rival.number) == start]
    before = max((at for at in own if at < effort), default=0)
    passed = [rung for rung in _rungs(start, strategy.effort) if before < rung <= effort]
    return bool(passed) and _loses(own, passed[-1], rivals)


def _first(strategy: Strategy) -> int:
    return strategy.first_effort or max(1, strategy.effort // _SHARE)


def _rungs(start: int, effort: int) -> list[int]:
    rungs = [start]
    while rungs[-1] < effort:
        rungs.append(rungs[-1] * _KEPT)
    return rungs[:-1]


def _start(strategy: Strategy, number: int) -> int:
    """The first rung of a trial: for Hyperband drawn in the paper's proportions, else the first effort."""
    first = _first(strategy)
    if strategy.pruner != "hyperband":
        return first
    ladders = [first]
    while ladders[-1] * _KEPT <= strategy.effort:
        ladders.append(ladders[-1] * _KEPT)
    most = len(ladders) - 1
    shares = [math.ceil((most + 1) * _KEPT ** (most - b) / (most - b + 1)) for b in range(most + 1)]
    drawn = key(strategy.seed, "ladder", number) % sum(shares)
    return ladders[int(np.searchsorted(np.cumsum(shares), drawn, side="right"))]


def _at(reports: Mapping[int, float], rung: int) -> float:
    """The first score at or after an effort; nan when it was not reached."""
    return min(((at, value) for at, value in reports.items() if at >= rung), default=(0, math.nan))[1]


def _loses(own: Mapping[int, float], rung: int, rivals: Sequence[Rival]) -> bool:
    value = _at(own, rung)
    known = [score for score in (_at(rival.reports, rung) for rival in rivals) if not math.isnan(score)]
    better = sum(score > value for score in known)
    return math.isnan(value) or better >= max(1, (len(known) + 1) // _KEPT)


def _below_median(own: Mapping[int, float], effort: int, rivals: Sequence[Rival], first: int) -> bool:
    known = [rival.reports[effort] for rival in rivals if rival.finished and effort in rival.reports]
    known = [score for score in known if not math.isnan(score)]
    finished = sum(rival.finished for rival in rivals)
    if effort < first or finished < _MEDIAN_OF or not known:
        return False
    best = max((value for value in own.values() if not math.isnan(value)), default=math.nan)
    return not best >= float(np.median(known))
