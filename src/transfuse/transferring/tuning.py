"""What every method that trains by gradient shares: batches, rate search, the loop, calibration.

A method builds its network, says what moves and what is lost, and calls `tune`.
"""

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transfuse.core import atomic
from transfuse.core.digests import of_value
from transfuse.core.errors import BudgetError
from transfuse.core.nouns import Preprocessing, Task
from transfuse.core.provenance import plain
from transfuse.core.randomness import key
from transfuse.core.runs import Run
from transfuse.core.tables import chosen
from transfuse.probing.calibrating import temperature
from transfuse.searching.halving import halve
from transfuse.tasks.augmenting import Augmentation, candidates, suited
from transfuse.training.averaging import copied
from transfuse.training.batches import Batch, Batches, Inputs, Pictures
from transfuse.training.loop import Diverged, Metrics, Moves, Objective, Trained, train
from transfuse.training.losses import Loss, chosen_loss, example_weights
from transfuse.training.options import Fit, default_steps
from transfuse.transferring.targets import Validation, as_tensor, require_splits, target_scale

RATES = {"adamw": (3e-3, 1e-3, 3e-4, 1e-4), "sgd": (1e-1, 3e-2, 1e-2, 3e-3)}
"""Peak rates that the search tries, largest first: half decades around what published recipes use."""


@dataclass(frozen=True, kw_only=True)
class Workbench:
    """A task made ready for training one network."""

    task: Task
    train_inputs: Inputs
    validation: Validation
    loss: Loss
    weights_N: np.ndarray
    targets: Tensor
    augmentation: str
    """What is done to the pictures, and why, in words."""

    def batches(self, fit: Fit) -> Batches:
        """The training split in keyed order."""
        return Batches(
            inputs=self.train_inputs,
            targets=self.targets,
            weights_N=self.weights_N,
            batch_size=min(fit.batch_size, len(self.train_inputs)),
            seed=fit.seed,
        )

    def objective(self, network: nn.Module, batch: Batch) -> Tensor:
        """Weighted mean loss of a batch: what a method without a regulariser minimises."""
        return self.weighted(network(batch.x), batch)

    def weighted(self, logits_BC: Tensor, batch: Batch) -> Tensor:
        """Weighted mean loss of logits that were computed already."""
        return (self.loss(logits_BC, batch.y) * batch.weights_B).mean()


def workbench(
    task: Task, preprocessing: Preprocessing, fit: Fit, inputs: tuple[Inputs, Inputs] | None = None
) -> Workbench:
    """Make a task ready: pictures decoded, or `inputs` (train, valid) when activations were cached earlier."""
    require_splits(task)
    scale = target_scale(task)
    augmentation, words = chosen_augmentation(task, fit)
    if inputs is None:
        train_inputs: Inputs = Pictures(task.splits["train"], preprocessing, augmentation, fit.seed)
        valid_inputs: Inputs = Pictures(task.splits["valid"], preprocessing)
    else:
        train_inputs, valid_inputs = inputs
    return Workbench(
        task=task,
        train_inputs=train_inputs,
        validation=Validation(inputs=valid_inputs, targets=task.splits["valid"].targets, kind=task.kind, scale=scale),
        loss=chosen_loss(task.kind, fit),
        weights_N=example_weights(task, fit),
        targets=as_tensor(task.splits["train"].targets, scale),
        augmentation=words,
    )


def chosen_augmentation(task: Task, fit: Fit) -> tuple[Augmentation, str]:
    """The augmentation that `fit` names, and why, in words."""
    if fit.augmentation == "auto":
        return suited(task)
    known = candidates(task)
    return known[chosen("augmentation", fit.augmentation, ("auto", *known))], f"{fit.augmentation}, as given"


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """A trained network's record: what was planned, what happened, how to calibrate it."""

    fit: Fit
    """With the steps and the rate that were used."""
    trained: Trained
    temperature: float
    facts: Mapping[str, Any]


def tune(
    network: nn.Module,
    bench: Workbench,
    *,
    moves: Moves,
    fit: Fit,
    run: Run,
    objective: Objective | None = None,
    identity: Mapping[str, Any] | None = None,
) -> Tuned:
    """Search the rate when none is given, train, and fit the temperature on the validation split.

    The network is trained in place. Steps are cut when the run's deadline would not allow them.
    """
    objective = objective or bench.objective
    fit = replace(fit, steps=fit.steps or default_steps(len(bench.train_inputs)))
    planned, trials = _planned(network, bench, objective, moves, fit, run, identity or {})
    trained = train(
        network,
        bench.batches(planned),
        objective=objective,
        moves=moves,
        validate=bench.validation,
        fit=planned,
        run=run,
        identity=_identity(bench, identity),
    )
    facts = {
        "steps": trained.steps,
        "rate": planned.rate,
        "rate_search": trials,
        "augmentation": bench.augmentation,
        "stopped_by": trained.stopped_by,
        "validation": dict(trained.best),
    }
    return Tuned(fit=planned, trained=trained, temperature=calibrated(network, bench), facts=facts)


def calibrated(network: nn.Module, bench: Workbench) -> float:
    """The temperature that fits the validation split best; 1 for regression."""
    validation = bench.validation
    if validation.kind == "regression":
        return 1.0
    return temperature(validation.logits(network), validation.targets, validation.kind)


def _identity(bench: Workbench, identity: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"task": bench.task.digest, **(identity or {})}


def _planned(
    network: nn.Module,
    bench: Workbench,
    objective: Objective,
    moves: Moves,
    fit: Fit,
    run: Run,
    identity: Mapping[str, Any],
) -> tuple[Fit, list[dict[str, float]]]:
    """Rate and steps; kept beside the checkpoint, so that a resumed run trains by the same plan."""
    path = run.checkpoints / "plan.json" if run.checkpoints else None
    fingerprint = of_value({"fit": plain(fit), "moves": plain(moves), **_identity(bench, identity)})
    if path and path.exists():
        kept = json.loads(path.read_text())
        if kept["fingerprint"] == fingerprint:
            return replace(fit, rate=kept["rate"], steps=kept["steps"]), kept["trials"]
    started = time.monotonic()
    trials = [] if fit.rate else search_rates(network, bench, objective, moves, fit, run)
    rate = fit.rate or max(trials, key=lambda trial: (trial["steps"], -trial["loss"]))["rate"]
    steps = _affordable(
        network, bench, objective, moves, replace(fit, rate=rate), run, trials, time.monotonic() - started
    )
    if path:
        document = {"fingerprint": fingerprint, "rate": rate, "steps": steps, "trials": trials}
        atomic.write_text(path, json.dumps(document))
    return replace(fit, rate=rate, steps=steps), trials


def search_rates(
    network: nn.Module, bench: Workbench, objective: Objective, moves: Moves, fit: Fit, run: Run
) -> list[dict[str, float]]:
    """Short trainings from the same start at several rates, by successive halving on the validation loss.

    The network is left as it was. A rate that diverges loses; it raises nothing.
    """
    start = copied(network)
    short = max(10, fit.steps // 20)
    trials: list[dict[str, float]] = []

    def score(rate: float, steps: int) -> float:
        network.load_state_dict(start)
        metrics = _short(network, bench, objective, moves, replace(fit, rate=rate, steps=steps), run)
        loss = metrics["loss"] if metrics else math.inf
        trials.append({"rate": rate, "steps": steps, "loss": loss})
        run.watch({"stage": "rate search", "done": len(trials), "total": None, "text": f"{rate:g}: loss {loss:.3f}"})
        return -loss

    try:
        halve(RATES[fit.optimizer], score, efforts=(short, 2 * short))
    finally:
        network.load_state_dict(start)
    return trials


def _short(
    network: nn.Module, bench: Workbench, objective: Objective, moves: Moves, fit: Fit, run: Run
) -> Metrics | None:
    quick = replace(fit, patience=0, target=0.0, validate_every=fit.steps)
    quiet = replace(run, checkpoints=None, watch=lambda event: None)
    try:
        trained = train(
            network,
            bench.batches(quick),
            objective=objective,
            moves=moves,
            validate=bench.validation,
            fit=quick,
            run=quiet,
        )
    except Diverged:
        return None
    if trained.stopped_by == "interrupt":
        raise KeyboardInterrupt
    return trained.best


def _affordable(
    network: nn.Module,
    bench: Workbench,
    objective: Objective,
    moves: Moves,
    fit: Fit,
    run: Run,
    trials: list[dict[str, float]],
    spent: float,
) -> int:
    """The steps wanted, or as many as fit into nine tenths of the time that is left."""
    if math.isinf(run.remaining()):
        return fit.steps
    if trials:
        seconds_a_step = spent / sum(trial["steps"] for trial in trials)
    else:
        seconds_a_step = _timed(network, bench, objective, moves, fit, run)
    affordable = int(0.9 * run.remaining() / seconds_a_step)
    if affordable < 1:
        raise BudgetError(
            f"One training step takes {seconds_a_step:.2f} s, but only {max(0.0, run.remaining()):.1f} s are left."
        )
    return min(fit.steps, affordable)


def _timed(network: nn.Module, bench: Workbench, objective: Objective, moves: Moves, fit: Fit, run: Run) -> float:
    start, began = copied(network), time.monotonic()
    _short(network, bench, objective, moves, replace(fit, steps=3), run)
    network.load_state_dict(start)
    return (time.monotonic() - began) / 3


def reseeded(module: nn.Module, *parts: object) -> nn.Module:
    """The module with every parameter drawn anew from a key; modules without `reset_parameters` are left alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(*parts))
        for child in module.modules():
            reset: Callable[[], None] | None = getattr(child, "reset_parameters", None)
            if reset is not None:
                reset()
    return module
