"""What every method that trains by gradient shares: batches, rate search, the loop, calibration.

A method builds its network, says what moves and what is lost, and calls `tune`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor, nn

from transfuse.core.nouns import AnyPreprocessing, Task
from transfuse.core.runs import Run
from transfuse.probing.calibrating import temperature
from transfuse.training.batches import Batch, Batches, Inputs, inputs_of
from transfuse.training.loop import Moves, Objective, Trained, Validate
from transfuse.training.losses import Loss, chosen_loss, example_weights
from transfuse.training.options import Fit, default_steps
from transfuse.tuning.augmenting import chosen_augmentation
from transfuse.tuning.planning import Job, planned
from transfuse.tuning.targets import Validation, as_tensor, require_splits, target_scale


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
    """What is done to the examples, and why, in words."""
    judge: Validate | None = None
    """What decides instead of the clean validation split."""

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
    task: Task,
    preprocessing: AnyPreprocessing,
    fit: Fit,
    *,
    probe: nn.Module | None = None,
    inputs: tuple[Inputs, Inputs] | None = None,
) -> Workbench:
    """Make a task ready: examples decoded, or `inputs` (train, valid) when activations were cached earlier.

    `probe` is a network that solves the task already, on which mirroring is tested.
    """
    require_splits(task)
    scale = target_scale(task)
    augmentation, words = chosen_augmentation(task, preprocessing, fit, probe)
    if inputs is None:
        train_inputs = inputs_of(task.splits["train"], preprocessing, augmentation, fit.seed)
        valid_inputs = inputs_of(task.splits["valid"], preprocessing)
    else:
        train_inputs, valid_inputs = inputs
    return Workbench(
        task=task,
        train_inputs=train_inputs,
        validation=Validation(
            inputs=valid_inputs,
            targets=task.splits["valid"].targets,
            kind=task.kind,
            scale=scale,
            balanced=fit.class_weights != "equal",
        ),
        loss=chosen_loss(task.kind, fit),
        weights_N=example_weights(task, fit),
        targets=as_tensor(task.splits["train"].targets, scale),
        augmentation=words,
    )


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

    The network is trained in place. Steps are cut when the run's deadline would not allow them. `identity` says what
    the work is, beside the task, so that a killed run is resumed by the same work only.
    """
    job = Job(
        network=network,
        batches=bench.batches(fit),
        objective=objective or bench.objective,
        moves=moves,
        validate=bench.judge or bench.validation,
        identity={"task": bench.task.digest, **(identity or {})},
    )
    plan = planned(job, replace(fit, steps=fit.steps or default_steps(len(bench.train_inputs))), run)
    trained = job.train(plan.fit, run)
    facts = {
        "steps": trained.steps,
        "steps_wanted": plan.steps_wanted,
        "rate": plan.fit.rate,
        "rate_search": list(plan.trials),
        "augmentation": bench.augmentation,
        "stopped_by": trained.stopped_by,
        "validation": dict(trained.best),
    }
    return Tuned(fit=plan.fit, trained=trained, temperature=calibrated(network, bench), facts=facts)


def calibrated(network: nn.Module, bench: Workbench) -> float:
    """The temperature that fits the validation split best; 1 for regression."""
    validation = bench.validation
    if validation.kind == "regression":
        return 1.0
    return temperature(validation.logits(network), validation.targets, validation.kind)
