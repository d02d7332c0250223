"""One `Fit` for tasks of unlike kinds: for each task the part of it that the task can have."""

from collections.abc import Sequence
from dataclasses import replace

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Task
from transfuse.core.tables import chosen
from transfuse.training.losses import KINDS_OF_LOSS
from transfuse.training.options import Fit, default_steps


def for_all(fit: Fit, tasks: Sequence[Task]) -> Fit:
    """With the steps that suit the largest task, unless they are given. Raises for what suits no task."""
    if fit.loss != "auto" and not any(_suits(fit.loss, task) for task in tasks):
        kinds = ", ".join(dict.fromkeys(task.kind for task in tasks))
        raise UsageError(f"`loss` must go with one of the tasks, which are {kinds}, but is '{fit.loss}'.")
    if not isinstance(fit.class_weights, str):
        for name in fit.class_weights:
            chosen("class", name, [known for task in tasks if task.kind != "regression" for known in task.classes])
    return replace(fit, steps=fit.steps or default_steps(max(len(task.splits["train"]) for task in tasks)))


def for_task(fit: Fit, task: Task) -> Fit:
    """A loss of another kind, and weights and smoothing of classes where there are none, are left out."""
    fit = fit if fit.loss == "auto" or _suits(fit.loss, task) else replace(fit, loss="auto")
    if task.kind == "regression":
        return replace(fit, class_weights="equal", label_smoothing=0.0)
    if not isinstance(fit.class_weights, str):
        own = {name: weight for name, weight in fit.class_weights.items() if name in task.classes}
        return replace(fit, class_weights=own or "equal")
    return fit


def _suits(loss: str, task: Task) -> bool:
    return task.kind in KINDS_OF_LOSS[chosen("loss", loss, KINDS_OF_LOSS)]
