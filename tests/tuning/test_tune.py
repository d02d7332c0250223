"""What all trained methods share: kinds, losses, heads, optimisers, schedules, calibration, interruption."""

from collections.abc import Mapping

import numpy as np
import pytest

from transfuse.core.errors import UnknownName, UsageError
from transfuse.core.nouns import Source, Task
from transfuse.core.runs import Run
from transfuse.predicting.predict import logits, probabilities
from transfuse.probing.calibrating import temperature
from transfuse.training.options import Fit
from transfuse.transferring.methods.scratch import scratch
from transfuse.transferring.transfer import carried_out
from transfuse.tuning.outcome import HeadShape
from transfuse.tuning.tune import workbench

LOSSES = [
    ("single-label", {"loss": "cross_entropy"}),
    ("single-label", {"loss": "cross_entropy", "label_smoothing": 0.1}),
    ("single-label", {"loss": "focal"}),
    ("single-label", {"loss": "binary"}),
    ("multi-label", {"loss": "binary"}),
    ("multi-label", {"loss": "binary", "label_smoothing": 0.1}),
    ("regression", {"loss": "mse"}),
    ("regression", {"loss": "huber"}),
]
HEADS = [
    {"head": "linear", "dropout": 0.3},
    {"head": "cosine"},
    {"head": "cosine", "dropout": 0.3},
    *(
        {"head": "mlp", "hidden": 8, "activation": name}
        for name in ("relu", "gelu", "silu", "tanh", "leaky_relu", "elu")
    ),
]


def losses_of(source: Source, task: Task, **options) -> list[float]:
    """Training losses at four validations of `scratch`, which starts from nothing."""
    given = {"steps": 40, "rate": 1e-2, "batch_size": 12, "validate_every": 10, "patience": 0, **options}
    _, outcome = carried_out(source, task, method="scratch", name=None, run=Run(), options=given)
    return [point["train_loss"] for point in outcome.curves]


@pytest.mark.parametrize(("kind", "options"), LOSSES)
def test_every_loss_falls(small: Source, tasks: Mapping[str, Task], kind: str, options: dict):
    losses = losses_of(small, tasks[kind], **options)
    assert len(losses) == 4 and losses[-1] < 0.95 * losses[0]


@pytest.mark.parametrize("options", HEADS)
def test_every_head_and_activation_learns(small: Source, task: Task, options: dict):
    losses = losses_of(small, task, **options)
    assert losses[-1] < 0.95 * losses[0]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_every_optimiser_and_schedule_learns(small: Source, task: Task, optimizer: str, schedule: str):
    losses = losses_of(
        small, task, optimizer=optimizer, schedule=schedule, rate={"adamw": 1e-2, "sgd": 3e-2}[optimizer]
    )
    assert losses[-1] < 0.95 * losses[0]


@pytest.mark.parametrize("method", ["probe", "finetune"])
@pytest.mark.parametrize("kind", ["multi-label", "regression"])
def test_answers_of_other_kinds(small: Source, tasks: Mapping[str, Task], kind: str, method: str):
    task = tasks[kind]
    options = {"steps": 3, "rate": 1e-3} if method == "finetune" else {}
    model, _ = carried_out(small, task, method=method, name=None, run=Run(), options=options)
    outputs = probabilities(model, task.splits["test"].items)
    targets = task.splits["test"].targets
    assert outputs.shape == targets.shape and np.isfinite(outputs).all()
    if kind == "multi-label":
        assert ((outputs > 0) & (outputs < 1)).all() and ((outputs > 0.5) == (targets > 0.5)).mean() > 0.8
    else:
        assert model.temperature == 1.0 and np.abs(outputs - targets).mean() < 10  # targets lie in 20..70


def test_a_loss_of_another_kind_is_refused(small: Source, tasks: Mapping[str, Task]):
    with pytest.raises(UsageError, match="must be one of mse, huber"):
        losses_of(small, tasks["regression"], loss="cross_entropy")
    with pytest.raises(UnknownName, match="Did you mean 'huber'"):
        losses_of(small, tasks["regression"], loss="hubert")
    with pytest.raises(UnknownName, match="Did you mean 'cosine'"):
        losses_of(small, tasks["single-label"], head="cosin")


def test_the_temperature_is_the_validation_splits(small: Source, task: Task):
    outcome = scratch(small, task, fit=Fit(steps=30, rate=1e-2, batch_size=12))
    valid = task.splits["valid"]
    raw = logits(outcome.network, valid.items, small.preprocessing)
    assert outcome.temperature == pytest.approx(temperature(raw, valid.targets, "single-label"), rel=1e-3)


def test_ctrl_c_gives_the_best_so_far(small: Source, task: Task):
    def interrupt(event: Mapping) -> None:
        if event["stage"] == "training" and event["done"] == 25:
            raise KeyboardInterrupt

    options = {"steps": 60, "rate": 1e-2, "validate_every": 10, "head": "mlp"}
    model, outcome = carried_out(
        small, task, method="scratch", name=None, run=Run(watch=interrupt), options={**options, "batch_size": 12}
    )
    assert outcome.interrupted and outcome.facts["stopped_by"] == "interrupt"
    bench = workbench(task, small.preprocessing, Fit())
    best = max(outcome.curves, key=lambda point: (point["score"], -point["loss"]))
    assert len(outcome.curves) == 2 and bench.validation(model.network)["loss"] == pytest.approx(best["loss"], rel=1e-4)


def test_ctrl_c_before_the_first_validation_is_passed_on(small: Source, task: Task):
    def interrupt(event: Mapping) -> None:
        if event["stage"] in ("training", "rate search"):
            raise KeyboardInterrupt

    for rate in (0.0, 1e-2):
        with pytest.raises(KeyboardInterrupt):
            scratch(small, task, run=Run(watch=interrupt), fit=Fit(steps=60, rate=rate), head=HeadShape())
