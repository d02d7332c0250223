"""What the user may do next, in sentences with figures: label more, look at labels, leave unsure answers out."""

import shlex
from typing import cast

import numpy as np

from transfuse.checking.report import in_words
from transfuse.checking.wrong_labels import suspects
from transfuse.core.errors import DataError
from transfuse.core.nouns import Features, Task
from transfuse.core.runs import Run
from transfuse.fitting.candidates import Candidate
from transfuse.probing import abstaining, learning_curves
from transfuse.sources.extraction import features

_WANTED = (0.9, 0.95, 0.99)
"""Accuracies that may be promised; the first that is above what the model has is taken."""


def advice(probe: Candidate, taken: Candidate, task: Task, *, seed: int, run: Run = Run()) -> list[str]:
    """All of it, by the best probe and the model that was taken."""
    more = about_labels(probe, task, seed=seed, run=run)
    return [*more, *about_wrong_labels(probe, task), *about_abstaining(taken)]


def about_labels(probe: Candidate, task: Task, *, seed: int, run: Run = Run()) -> list[str]:
    """What twice the labels would buy, by the learning curve of a probe on cached features."""
    train = task.splits["train"]
    found = cast("Features", features(probe.source, task, "train", run=run))
    try:
        curve = learning_curves.learning_curve(
            found.x_ND, train.targets, task.kind, classes=len(task.classes), seed=seed, groups=train.groups
        )
    except DataError:  # nothing can be held out
        return []
    return [f"{learning_curves.spoken(curve)} [probe of {probe.source.name}]"]


def about_wrong_labels(probe: Candidate, task: Task) -> list[str]:
    """How many training labels the best probe doubts, out of fold, and the command that shows them."""
    held = probe.out_of_fold
    if held is None:
        return []
    found = suspects(held.kind, held.targets, held.outputs_NC, groups=held.examples.groups, seed=task.seed)
    if not len(found):
        return []
    command = shlex.join(["transfuse", "check", str(task.description.get("data", "DATA")), "--out", "findings"])
    said = in_words(len(set(found.rows_M.tolist())), found.share)
    return [f"Of the training examples, {said} Look at them: {command} [out of fold, {probe.name}]"]


def about_abstaining(taken: Candidate) -> list[str]:
    """From which confidence on answers can be trusted, by answers that the model was not fitted on."""
    judged = taken.out_of_fold or taken.validation
    if judged.kind == "regression":
        return []
    confidence_N, right_N = abstaining.answered(judged.outputs_NC, judged.targets, judged.kind)
    accuracy = float(np.mean(right_N))
    wanted = next((w for w in _WANTED if w > accuracy), None)
    if wanted is None:
        return []
    where = "out of fold" if taken.out_of_fold else "validation split"
    return [f"{abstaining.spoken(abstaining.threshold(confidence_N, right_N, accuracy=wanted))} [{where}]"]
