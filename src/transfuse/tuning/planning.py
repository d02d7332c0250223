"""How long and how fast to train: the rate by a short search, the steps by what the time allows."""

import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from transfuse.core import atomic
from transfuse.core.digests import of_value
from transfuse.core.documents import sealed, sealed_object
from transfuse.core.errors import BudgetError, UsageError
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.training.averaging import copied
from transfuse.training.batches import Shown
from transfuse.training.loop import Diverged, Metrics, Moves, Objective, Trained, Validate, train
from transfuse.training.options import Fit

RATES = {"adamw": (1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 3e-5), "sgd": (3e-1, 1e-1, 3e-2, 1e-2, 3e-3, 1e-3)}
"""Peak rates that the search may try, largest first: half decades around what published recipes use."""
_LEAST_TRIALS = 3
"""Rates that are tried in any case; smaller ones only while the smallest one tried is the best."""
_CLOSE = 1.5
"""Short trials favour small rates, which disturb a solved head least; a loss within this factor of the best counts as
equal, and the larger rate wins (two networks on 640 photographs, see LOG.md)."""
_RISE = 0.5
"""Warm-up of a trial: a tenth of a dozen steps would be a jump that the real training does not make."""


DEFAULT_RATE = {"adamw": 1e-3, "sgd": 1e-2}
"""Taken only when the time does not allow a search."""
_SHARE_OF_SEARCH = 0.3
"""Share of the time left that the search may take."""
_SHORTEST_TRIAL = 10
"""Steps below which a trial says nothing."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """A training that can be tried at several rates: everything but its length and rate."""

    network: nn.Module
    batches: Shown
    objective: Objective
    moves: Moves
    validate: Validate
    identity: Mapping[str, Any]

    def train(self, fit: Fit, run: Run) -> Trained:
        """Train the network in place."""
        return train(
            self.network,
            self.batches,
            objective=self.objective,
            moves=self.moves,
            validate=self.validate,
            fit=fit,
            run=run,
            identity=self.identity,
        )


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A training's rate and steps, and how they were found."""

    fit: Fit
    trials: tuple[Mapping[str, float], ...]
    """One mapping a trial of the search: rate, steps, loss."""
    steps_wanted: int


def planned(job: Job, fit: Fit, run: Run) -> Plan:
    """Rate and steps; kept beside the checkpoint, so that a resumed run trains by the same plan.

    Raises `BudgetError` when the time left does not allow a single step.
    """
    path = run.checkpoints / "plan.json" if run.checkpoints else None
    fingerprint = of_value({"fit": plain(fit), "moves": plain(job.moves), **job.identity})
    if path and path.exists():
        kept = sealed_object(path)
        if kept["fingerprint"] == fingerprint:
            return Plan(
                fit=replace(fit, rate=kept["rate"], steps=kept["steps"]), trials=kept["trials"], steps_wanted=fit.steps
            )
    seconds_a_step = math.nan if math.isinf(run.remaining()) else timed(job, fit, run)
    began = time.monotonic()
    trials = [] if fit.rate else search_rates(job, fit, run, _length_of_trials(fit, run, seconds_a_step))
    if trials and not math.isnan(seconds_a_step):  # surer than a few steps with a validation at their end
        seconds_a_step = (time.monotonic() - began) / sum(trial["steps"] for trial in trials)
    rate = _best_rate(trials) if trials else fit.rate or DEFAULT_RATE[fit.optimizer]
    steps = _affordable(fit.steps, seconds_a_step, run)
    if path:
        document = {"fingerprint": fingerprint, "rate": rate, "steps": steps, "trials": trials}
        atomic.write_text(path, json.dumps(sealed(document)))
    return Plan(fit=replace(fit, rate=rate, steps=steps), trials=tuple(trials), steps_wanted=fit.steps)


def _best_rate(trials: Sequence[Mapping[str, float]]) -> float:
    """The largest rate whose loss is close to the lowest; the smallest one tried while all diverge."""
    lowest = min(trial["loss"] for trial in trials)
    if math.isinf(lowest):
        return min(trial["rate"] for trial in trials)
    return max(trial["rate"] for trial in trials if trial["loss"] <= _CLOSE * lowest)


def search_rates(job: Job, fit: Fit, run: Run, length: int) -> list[dict[str, float]]:
    """Short trainings from the same start, from the largest rate down for as long as smaller ones pay.

    They are judged by the validation loss. Halving would drop the large rates, which are slow to show what they are
    worth (see `_CLOSE`). The network is left as it was. A rate that diverges loses; it raises nothing unless all do.
    No trials when `length` is 0.
    """
    if not length:
        return []
    start = copied(job.network)
    trials: list[dict[str, float]] = []

    try:
        for rate in RATES[fit.optimizer]:
            job.network.load_state_dict(start)
            metrics = _short(job, replace(fit, rate=rate, steps=length, warm_up=_RISE), run)
            loss = metrics["loss"] if metrics and math.isfinite(metrics["loss"]) else math.inf
            trials.append({"rate": rate, "steps": length, "loss": loss})
            run.watch(
                {"stage": "rate search", "done": len(trials), "total": None, "text": f"{rate:g}: loss {loss:.3f}"}
            )
            if len(trials) >= _LEAST_TRIALS and _best_rate(trials) != rate:
                break
    finally:
        job.network.load_state_dict(start)
    if not any(math.isfinite(trial["loss"]) for trial in trials):
        raise UsageError("Training diverged at every rate tried. Give a smaller `rate`, or look at the targets.")
    return trials


def timed(job: Job, fit: Fit, run: Run, steps: int = 3) -> float:
    """Seconds a training step takes, its share of the validations included; the network is left as it was."""
    start = copied(job.network)
    _short(job, replace(fit, rate=DEFAULT_RATE[fit.optimizer], steps=1), run)  # the first step pays for set-up
    began = time.monotonic()
    _short(job, replace(fit, rate=DEFAULT_RATE[fit.optimizer], steps=steps), run)
    job.network.load_state_dict(start)
    return (time.monotonic() - began) / steps


def _short(job: Job, fit: Fit, run: Run) -> Metrics | None:
    quick = replace(fit, patience=0, target=0.0, validate_every=fit.steps)
    quiet = replace(run, checkpoints=None, watch=lambda event: None, deadline=None)
    try:
        trained = job.train(quick, quiet)
    except Diverged:
        return None
    if trained.stopped_by == "interrupt":
        raise KeyboardInterrupt
    return trained.best


def _length_of_trials(fit: Fit, run: Run, seconds_a_step: float) -> int:
    """Steps of a first-round trial; 0 when the time does not allow a search."""
    wanted = max(25, fit.steps // 12)
    if math.isnan(seconds_a_step):
        return wanted
    affordable = int(_SHARE_OF_SEARCH * run.remaining() / (_LEAST_TRIALS * seconds_a_step))
    return min(wanted, affordable) if affordable >= _SHORTEST_TRIAL else 0


def _affordable(wanted: int, seconds_a_step: float, run: Run) -> int:
    """The steps wanted, or as many as fit into nine tenths of the time that is left."""
    if math.isnan(seconds_a_step):
        return wanted
    affordable = int(0.9 * run.remaining() / seconds_a_step)
    if affordable < 1:
        left = max(0.0, run.remaining())
        raise BudgetError(f"One training step takes {seconds_a_step:.2f} s, but only {left:.1f} s are left.")
    return min(wanted, affordable)
