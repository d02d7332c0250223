"""Successive halving: short trials for all candidates, longer ones for the better half.

Jamieson and Talwalkar, arXiv 1502.07943. Knows nothing of what a candidate is.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from transfuse.core.errors import UsageError

Candidate = TypeVar("Candidate")


@dataclass(frozen=True, kw_only=True)
class Trial(Generic[Candidate]):
    """One candidate at one effort."""

    candidate: Candidate
    effort: int
    """In the unit of the caller, such as optimiser steps."""
    score: float
    """Higher is better; minus infinity or not a number when it failed."""


def halve(
    candidates: Sequence[Candidate], score: Callable[[Candidate, int], float], *, efforts: Sequence[int]
) -> tuple[Trial[Candidate], list[Trial[Candidate]]]:
    """The best trial of the last round, and all trials.

    Round r gives `efforts[r]` to each survivor, of whom the better half goes on; a tie keeps the earlier candidate.
    Raises `UsageError` when there is no candidate or none has a finite score.
    """
    if not candidates or not efforts:
        raise UsageError("A search needs at least one candidate and one effort.")
    survivors, trials = list(candidates), []
    for effort in efforts:
        round_trials = [Trial(candidate=c, effort=effort, score=score(c, effort)) for c in survivors]
        trials += round_trials
        ordered = sorted(round_trials, key=lambda trial: math.inf if math.isnan(trial.score) else -trial.score)
        survivors = [trial.candidate for trial in ordered[: max(1, math.ceil(len(ordered) / 2))]]
        best = ordered[0]
        if len(survivors) == 1 and len(ordered) == 1:
            break
    if not math.isfinite(best.score):
        raise UsageError(f"None of the {len(candidates)} candidates of the search gave a finite score.")
    return best, trials
