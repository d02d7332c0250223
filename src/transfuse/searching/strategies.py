"""How a search looks: which options it tries next, and which trials it gives up early (see `pruning.py`).

- `random`: uniform in the ranges. Bergstra and Bengio, JMLR 13, 2012.
- `tpe`: tree-structured Parzen estimators, over all options that always apply at once, the others one by one; random
  for the first trials. Bergstra et al., NeurIPS 2011; Watanabe, arXiv 2304.11127.
- `cmaes`: a normal distribution over numbers that always apply, moved and shaped by the best of each generation; it
  begins in the middle of the ranges. For smooth scores of some ten numbers. Hansen, arXiv 1604.00772.

The samplers are Optuna's. Ours is that randomness is keyed by (seed, number of the trial, option): a sampler is made
anew for each option, so that a search that was killed, even between two options, goes on exactly as it would have.
"""

from dataclasses import dataclass
from typing import Literal

import optuna

from transfuse.core.errors import UsageError
from transfuse.core.randomness import key
from transfuse.core.tables import chosen

Sampler = Literal["tpe", "random", "cmaes"]
Pruner = Literal["none", "halving", "hyperband", "median"]

_RANDOM_FIRST = 10
"""Trials before the Parzen estimators; no share of `trials`, so that a longer search begins as a shorter one."""


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """How a search looks, and for how long."""

    trials: int
    """Number of trials in all, those of an earlier run on the same folder included."""
    effort: int = 1
    """What one whole trial may spend, in the caller's unit, such as optimiser steps."""
    first_effort: int = 0
    """Effort before which no trial is given up. 0: a 27th of `effort`."""
    sampler: Sampler = "tpe"
    pruner: Pruner = "none"
    seed: int = 0

    def __post_init__(self) -> None:
        chosen("sampler", self.sampler, ("tpe", "random", "cmaes"))
        chosen("pruner", self.pruner, ("none", "halving", "hyperband", "median"))
        for name, least in (("trials", 1), ("effort", 1), ("first_effort", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"`{name}` must be at least {least}, but is {getattr(self, name)}.")
        if self.first_effort > self.effort:
            raise UsageError(f"`first_effort` must be at most `effort` ({self.effort}), but is {self.first_effort}.")


def sampler(strategy: Strategy, number: int, option: str = "") -> optuna.samplers.BaseSampler:
    """The sampler of one option of a trial; of those that are drawn together without a name."""
    seed = key(strategy.seed, "search", number, option) % 2**32
    if strategy.sampler == "random":
        return optuna.samplers.RandomSampler(seed=seed)
    if strategy.sampler == "cmaes":
        return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    return optuna.samplers.TPESampler(n_startup_trials=_RANDOM_FIRST, seed=seed)
