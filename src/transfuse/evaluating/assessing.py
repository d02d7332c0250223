"""What a model answers on examples, measured: the raw material of every report.

Letters: N examples, C classes or target columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from transfuse.core.errors import UsageError
from transfuse.core.nouns import AnyPreprocessing, Examples, Kind, Modality, Model, Task
from transfuse.core.runs import Run
from transfuse.core.tables import chosen
from transfuse.measuring.intervals import interval
from transfuse.measuring.metrics import PRIMARY
from transfuse.measuring.weighted import METRICS
from transfuse.predicting.predict import probabilities

Measured = Mapping[str, float]
"""`value`, `low`, `high`, `n`."""


@dataclass(frozen=True, kw_only=True)
class Assessment:
    """A model's answers on one split, with the truth."""

    kind: Kind
    classes: tuple[str, ...]
    examples: Examples
    outputs_NC: np.ndarray
    """Calibrated probabilities, or values in the user's units."""
    modality: Modality = "image"
    preprocessing: AnyPreprocessing | None = None
    """How the model saw the examples."""

    @property
    def targets(self) -> np.ndarray:
        """Class indices (N,), or labels or values (N, C)."""
        return self.examples.targets

    def measured(self, name: str, *, seed: int = 0) -> Measured:
        """A metric with its bootstrap interval."""
        return interval(self.kind, name, self.targets, self.outputs_NC, seed=seed, groups=self.examples.groups)

    def all_measured(self, *, seed: int = 0) -> dict[str, Measured]:
        """Every metric of the kind, the primary one first."""
        names = sorted(METRICS[self.kind], key=lambda name: name != PRIMARY[self.kind])
        return {name: self.measured(name, seed=seed) for name in names}


def split_of(task: Task, split: str, model: Model) -> Examples:
    """A task's examples for a model. Raises `UnknownName` for an unknown split, `UsageError` for other classes."""
    require_same_question(task, model)
    return task.splits[chosen("split", split, task.splits)]


def require_same_question(task: Task, model: Model) -> None:
    """Raise `UsageError` when a task asks for other classes than a model answers for."""
    if (task.kind, task.classes) != (model.kind, model.classes):
        raise UsageError(
            f"The task must have the model's kind and classes, {model.kind} {list(model.classes)}, but has {task.kind}"
            f" {list(task.classes)}. Open the task with the same class names in the same order."
        )


def assess(model: Model, examples: Examples, *, run: Run = Run()) -> Assessment:
    """Ask the model for every example of a split."""
    outputs_NC = probabilities(model, examples.items, run=run)
    return Assessment(
        kind=model.kind,
        classes=model.classes,
        examples=examples,
        outputs_NC=outputs_NC,
        modality=model.modality,
        preprocessing=model.preprocessing,
    )


def headline(kind: Kind) -> tuple[str, ...]:
    """The metrics of a leaderboard, the deciding one first."""
    columns: dict[Kind, tuple[str, ...]] = {
        "single-label": ("accuracy", "balanced_accuracy", "log_loss", "calibration_error"),
        "multi-label": ("average_precision", "f1", "auc", "calibration_error"),
        "regression": ("rmse", "mae", "r2"),
    }
    return columns[kind]


def plain_row(name: str, assessment: Assessment, *, seed: int = 0, **extra: Any) -> dict[str, Any]:
    """One row of a leaderboard."""
    return {
        "model": name,
        **{column: assessment.measured(column, seed=seed) for column in headline(assessment.kind)},
        **extra,
    }
