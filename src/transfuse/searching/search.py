"""Search for the options of the highest score: ask, try, report, tell, until trials or time are used up.

    space = {"rate": Real(low=1e-4, high=1e-1, log=True), "loss": Choice(values=("cross_entropy", "focal"))}

    def score(options, effort, report):
        for step in range(1, effort + 1):
            ...
            report(step, accuracy)       # leaves by `Pruned` when the trial is not worth going on with
        return accuracy

    found = search(score, space, Strategy(trials=30, effort=200, pruner="halving"), run=Run(checkpoints=folder))

Akiba et al., "Optuna", arXiv 1907.10902. Knows nothing of what a score is. With a folder (`run.checkpoints`) a search
that was killed goes on where it was: what was finished stays, a trial that was cut off starts again with its options,
and the trials after it are those that would have been. Other processes may work on the same folder at the same time.
Sibling: `cross_validating.py` for scores of several folds.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, Literal

import optuna
from optuna.trial import FrozenTrial, TrialState

from transfuse.core.digests import of_value
from transfuse.core.errors import BudgetError, UsageError
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.searching.journal import locked, open_study, try_lock
from transfuse.searching.pruning import Rival, gives_up
from transfuse.searching.space import (
    Choice,
    Dimension,
    Options,
    Space,
    Value,
    Whole,
    check_options,
    check_space,
    choose,
)
from transfuse.searching.strategies import Strategy, sampler

Report = Callable[[int, float], None]
"""(effort spent so far, score so far); higher is better. Raises `Pruned`."""
Score = Callable[[Options, int, Report], float]
"""(options, effort, report) -> score; higher is better; minus infinity or not a number when it failed."""


class Pruned(Exception):
    """Raised by `report`, to be let through: the trial is given up."""


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """One trial of a search."""

    number: int
    options: Options
    outcome: Literal["finished", "pruned", "failed"]
    score: float
    """Of the whole effort; the last one reported when pruned; minus infinity when failed."""
    effort: int
    """In the unit of the caller; what was spent."""
    reports: Mapping[int, float]
    """Scores on the way, by the effort spent."""
    seconds: float
    """0 for options that were tried before: their score was known."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a search found."""

    best: Attempt
    """The highest score of a whole effort, the first of equal ones."""
    attempts: tuple[Attempt, ...]
    """All that ended, in the order in which they began; what other processes still work on is missing."""
    stopped_by: Literal["trials", "deadline"]


def search(
    score: Score,
    space: Space,
    strategy: Strategy,
    *,
    first: Sequence[Options] = (),
    identity: Mapping[str, Any] = MappingProxyType({}),
    run: Run = Run(),
) -> Found:
    """Try options and give all attempts with the best of them.

    Args:
        score: Called with the options, the whole effort and a way to report; must be a function of them: options that
            come up again are not tried again. Whatever it raises beside `Pruned` ends the search; with a folder the
            next run tries that trial again.
        space: What may be chosen.
        strategy: How, and for how many trials.
        first: Options to begin with, such as a recipe that is known to be good, or a `grid`; may be partial.
        identity: What else decides the scores, such as the digests of the data: searches of another identity, space or
            strategy (other than its trials) do not mix, although they may share a folder.
        run: `checkpoints` is the folder that remembers; no trial is begun that would be likely to miss `deadline`.

    Raises:
        UsageError: A space or options of another form; no trial with a finite score.
        BudgetError: The deadline came before the first score.
        StorageError: The folder cannot be written, or its journal is broken.
    """
    check_space(space)
    if strategy.sampler == "cmaes" and run.checkpoints is not None:  # Optuna pickles its state into the journal
        raise UsageError("A search by 'cmaes' must be in memory, but is given a folder. Take 'tpe', or no folder.")
    for options in first:
        check_options(space, options)
    content = {"space": plain(space), "first": plain(first), "identity": plain(identity), "trials": None}
    content = {**plain(strategy), **content}
    study = open_study(run.checkpoints, of_value(content)[:16], content)
    while _in_time(study, run):
        claimed = _claim(study, space, strategy, first, run)
        if claimed is None:
            return _found(study, strategy, "trials")
        trial, options, lock = claimed
        with lock:
            _try(score, study, trial, options, strategy)
        _tell_watcher(study, strategy, run)
    return _found(study, strategy, "deadline")


def _claim(
    study: optuna.Study, space: Space, strategy: Strategy, first: Sequence[Options], run: Run
) -> tuple[optuna.Trial, dict[str, Value], ExitStack] | None:
    """A trial that nobody works on, an abandoned one first, with its options and its lock; None when all are taken."""
    with locked(run.checkpoints, "asking"):
        trials = study.get_trials(deepcopy=False)
        open_ones = [trial.number for trial in trials if not trial.state.is_finished()]
        for number in [*open_ones, *range(len(trials), strategy.trials)]:
            lock = try_lock(run.checkpoints, f"{study.study_name}-{number}")
            if lock is None:
                continue
            study.sampler = sampler(strategy, number)
            trial = _begun(study, number, trials, first)
            _ = trial.relative_params  # drawn now, not with the first option that is missing
            return trial, choose(space, partial(_suggested, strategy, trial)), lock
    return None


def _begun(study: optuna.Study, number: int, trials: Sequence[FrozenTrial], first: Sequence[Options]) -> optuna.Trial:
    """The trial of that number: taken up where it was abandoned, or new."""
    if number < len(trials) and trials[number].state == TrialState.RUNNING:
        return optuna.Trial(study, trials[number]._trial_id)  # there is no public way to take up a trial
    if number == len(trials) and number < len(first):
        study.enqueue_trial(dict(first[number]))
    return study.ask()  # one that waits, else a new one


def _suggested(strategy: Strategy, trial: optuna.Trial, name: str, dimension: Dimension) -> Value:
    """The option's value: as it was written down before an interruption, else a new one."""
    trial.study.sampler = sampler(strategy, trial.number, name)
    if isinstance(dimension, Choice):
        return trial.suggest_categorical(name, dimension.values)
    if isinstance(dimension, Whole):
        return trial.suggest_int(name, dimension.low, dimension.high, log=dimension.log)
    return trial.suggest_float(name, dimension.low, dimension.high, log=dimension.log)


def _try(score: Score, study: optuna.Study, trial: optuna.Trial, options: dict[str, Value], strategy: Strategy) -> None:
    """One trial: what it gives is written down before this returns."""
    known = [a for a in _attempts(study, strategy) if a.outcome != "pruned" and a.options == options]
    began = time.monotonic()
    try:
        value = (
            known[0].score if known else float(score(dict(options), strategy.effort, _report(study, trial, strategy)))
        )
    except Pruned:
        trial.set_user_attr("seconds", time.monotonic() - began)
        study.tell(trial, state=TrialState.PRUNED)
        return
    trial.set_user_attr("seconds", 0.0 if known else time.monotonic() - began)
    study.tell(trial, value if math.isfinite(value) else -math.inf)


def _report(study: optuna.Study, trial: optuna.Trial, strategy: Strategy) -> Report:
    reported = dict(study.get_trials(deepcopy=False)[trial.number].intermediate_values)  # before an interruption

    def report(effort: int, value: float) -> None:
        if not 0 <= effort <= strategy.effort:
            raise UsageError(f"A report must be of an effort from 0 to {strategy.effort}, but is of {effort}.")
        if effort not in reported:
            trial.report(value, int(effort))
            reported[int(effort)] = value
        rivals = [_rival(other) for other in study.get_trials(deepcopy=False) if other.number != trial.number]
        if gives_up(strategy, trial.number, reported, effort, rivals):
            raise Pruned

    return report


def _rival(trial: FrozenTrial) -> Rival:
    finished = trial.state == TrialState.COMPLETE
    return Rival(number=trial.number, reports=trial.intermediate_values, finished=finished)


def _in_time(study: optuna.Study, run: Run) -> bool:
    """Whether the longest trial so far would fit once more."""
    longest = max((trial.user_attrs.get("seconds", 0.0) for trial in study.get_trials(deepcopy=False)), default=0.0)
    return run.remaining() > longest


def _attempts(study: optuna.Study, strategy: Strategy) -> list[Attempt]:
    return [_attempt(t, strategy) for t in study.get_trials(deepcopy=False) if t.state.is_finished()]


def _attempt(trial: FrozenTrial, strategy: Strategy) -> Attempt:
    pruned = trial.state == TrialState.PRUNED
    value = -math.inf if trial.value is None else float(trial.value)
    return Attempt(
        number=trial.number,
        options=dict(trial.params),
        outcome="pruned" if pruned else "finished" if math.isfinite(value) else "failed",
        score=value,
        effort=(trial.last_step or 0) if pruned else strategy.effort,
        reports=dict(trial.intermediate_values),
        seconds=trial.user_attrs["seconds"],
    )


def _found(study: optuna.Study, strategy: Strategy, stopped_by: Literal["trials", "deadline"]) -> Found:
    attempts = _attempts(study, strategy)
    finished = [attempt for attempt in attempts if attempt.outcome == "finished"]
    if not finished and stopped_by == "deadline":
        raise BudgetError(f"None of {strategy.trials} trials ended in time: give the search more, or a smaller effort.")
    if not finished:
        raise UsageError(
            f"None of the {len(attempts)} trials of the search ended with a finite score: "
            "look at what the function gives, and search a narrower space."
        )
    return Found(best=max(finished, key=lambda a: a.score), attempts=tuple(attempts), stopped_by=stopped_by)


def _tell_watcher(study: optuna.Study, strategy: Strategy, run: Run) -> None:
    attempts = _attempts(study, strategy)
    scores = [attempt.score for attempt in attempts if attempt.outcome == "finished"]
    text = f"best score {max(scores):.4g}" if scores else "no score yet"
    run.watch({"stage": "search", "done": len(attempts), "total": strategy.trials, "text": text})
