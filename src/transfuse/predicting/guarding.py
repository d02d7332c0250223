"""guard: what a model is to know of ordinary inputs, found in the data that it learnt from.

Ranges of sizes from the training split; a score that tells strangers, with the threshold above which about one in a
hundred inputs of the validation split lies. A probe, but of texts, carries Mahalanobis distances from the sums of its
own features, another classifier its energy, which needs nothing: benchmarks/out_of_distribution.py has the figures.
Letters: N examples, C classes or target columns, D features.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Guard, Model, Report, Task
from transfuse.core.runs import Run
from transfuse.core.tables import chosen
from transfuse.predicting.folder import load
from transfuse.predicting.predict import asked, confidences_of, logits
from transfuse.probing.learnt import coded
from transfuse.probing.moments import moments
from transfuse.probing.outside import FEATURED, SCORES, gaussians, gaussians_of_rows, scores, some_known, threshold
from transfuse.sources.inputs import traits, with_encoding
from transfuse.tasks.opening import open_task

SHARE = 0.01
"""0..1: of ordinary inputs, how many may be taken for strangers."""
_WIDEST = 2048
"""Features of a probe, or its examples, up to which their covariance is worth its time."""
_EQUAL = 1e-6
"""Spread of energies below which they say nothing."""
_MEASURED = 2000
"""Training inputs whose sizes are looked at."""


def guard(
    model: Model | str | Path,
    data: Any,
    *,
    score: str = "auto",
    share: float = SHARE,
    encode: str | None = None,
    trust_code: bool = False,
    run: Run = Run(),
    **options: Any,
) -> Model:
    """The model with what it needs to tell strangers, from data like those that it learnt from.

    Args:
        model: A Model or its folder.
        data: A Task with the model's classes, or what one can be opened from (`options`): its training split says what
            is ordinary, its validation split sets the threshold. Give data that the model has not learnt from as the
            validation split, or the threshold is too low.
        score: `energy`, `probability`, `mahalanobis`, `neighbours` (keeps training features: personal
            data), `none`, or `auto`.
        share: 0..1: of ordinary inputs, how many may be taken for strangers.
        encode: How pictures are made coarser from now on, such as `jpeg:75`: kept with the model and done whenever it
            predicts; empty for not at all, None for as before.
        trust_code: Open a model that was built by the user's own function.
        run: Watcher.
    """
    model = model if isinstance(model, Model) else load(model, trust_code=trust_code)
    chosen("score", score, (*SCORES, "auto", "none"))
    task = data if isinstance(data, Task) else open_task(data, run=run, **options)
    if (task.kind, task.classes) != (model.kind, model.classes):
        raise UsageError(
            f"The data must have the model's kind and classes, {model.kind} {list(model.classes)}, but have {task.kind}"
            f" {list(task.classes)}."
        )
    if encode is not None:
        # distances between coarser pictures are others
        model = replace(model, preprocessing=with_encoding(model.preprocessing, encode), guard=None, metrics={})
    return guarded(model, task, score=score, share=share, run=run)


def guarded(model: Model, task: Task, *, score: str = "auto", share: float = SHARE, run: Run = Run()) -> Model:
    """The model with its guard and its confidences, by the task's training and validation splits."""
    ranges = ranges_of(task.splits["train"].items, model)
    name, statistics = _prepared(model, task, score, run)
    made = Guard(ranges=ranges, score=name, statistics=statistics, share=share)
    if not name and model.kind != "single-label":
        return replace(model, guard=made)
    ready = replace(model, guard=made)
    found = asked({"": ready}, task.splits["valid"].items, scored={""}, run=run)[""]
    confidences = confidences_of(found.outputs_NC, model.kind)
    if name:
        logits_NC = found.logits_NC / model.temperature
        ordinary_N = scores(name, model.kind, logits_NC, found.x_ND, statistics)
        if score == "auto" and name == "energy" and np.ptp(ordinary_N) < _EQUAL:  # its outputs are log-probabilities
            name, ordinary_N = "probability", scores("probability", model.kind, logits_NC, None, {})
        limit, ordinary = threshold(ordinary_N, share)
        made = replace(made, score=name, threshold=limit, ordinary=ordinary)
    return replace(model, guard=made, confidences=confidences)


def of_features(x_ND: np.ndarray, task: Task) -> Guard | None:
    """The statistics of a probe's training features, before any threshold; None where they are too wide, and of texts.

    `guarded` completes it: nothing of the training split has to be read again. Counted words tell strangers by their
    energy (AUROC 0.96 of questions out of scope), not by distances (0.54): most words of a text are rare.
    """
    statistics = None if task.modality == "text" else _gaussians(x_ND, task)
    return None if statistics is None else Guard(score="mahalanobis", statistics=statistics, threshold=math.inf)


def _gaussians(x_ND: np.ndarray, task: Task) -> dict[str, np.ndarray] | None:
    """By sums over the rows; by the rows' inner products where they are fewer than features; else too slow."""
    targets, classes = task.splits["train"].targets, task.kind == "single-label"
    if len(x_ND) < min(x_ND.shape[1], _WIDEST):
        return gaussians_of_rows(x_ND, targets if classes else None)
    if x_ND.shape[1] > _WIDEST:
        return None
    sums = moments(x_ND, coded(targets, task.kind, len(task.classes)), None)
    return gaussians(sums, classes=classes)


def ranges_of(items: Sequence[Any], model: Model) -> dict[str, tuple[float, float]]:
    """Least and most of what the inputs measure, of some of them, equally spaced."""
    step = max(1, -(-len(items) // _MEASURED))
    measured = [traits(items[place], model.preprocessing) for place in range(0, len(items), step)]
    names = measured[0] if measured else ()
    return {name: (min(one[name] for one in measured), max(one[name] for one in measured)) for name in names}


def _prepared(model: Model, task: Task, score: str, run: Run) -> tuple[str, dict[str, np.ndarray]]:
    """Name of the score and what it needs; of a probe what it has already."""
    own = model.guard
    if score in ("auto", "mahalanobis") and own is not None and own.score == "mahalanobis":
        return own.score, dict(own.statistics)
    if score == "auto":
        score = "none" if model.kind == "regression" else "energy"
    if score not in FEATURED:
        return ("" if score == "none" else score), {}
    train = task.splits["train"]
    x_ND = logits(model.network.get_submodule("body"), train.items, model.preprocessing, run=run)
    if score == "neighbours":
        return score, some_known(x_ND, seed=task.seed)
    statistics = _gaussians(x_ND, task)
    if statistics is None:
        raise UsageError(f"`score` '{score}' is for at most {_WIDEST} features, but there are {x_ND.shape[1]}.")
    return score, statistics


def described(model: Model) -> Report:
    """What a guarded model turns away, as a report."""
    made = model.guard
    if made is None or not made.score:
        return Report(title=f"{model.name} knows no score", columns=(), rows=(), summary=(_sizes(made),))
    row = {"score": made.score, "threshold": made.threshold, "ordinary inputs above it": made.ordinary}
    said = (
        f"Of new inputs like those of the validation split {made.ordinary['value']:.1%} will be taken for strangers (95"
        f" % interval {made.ordinary['low']:.1%} to {made.ordinary['high']:.1%}, n = {made.ordinary['n']:.0f})."
    )
    if made.ordinary["value"] > made.share * (1 + 1e-9):
        said += f" For {made.share:.1%} there would have to be {math.ceil(1 / made.share) - 1} validation examples."
    return Report(title=f"{model.name}, guarded", columns=tuple(row), rows=(row,), summary=(said, _sizes(made)))


def _sizes(made: Guard | None) -> str:
    found = made.ranges.items() if made is not None else ()
    told = ", ".join(f"{name} {low:,.4g} to {high:,.4g}" for name, (low, high) in found)
    return f"Ordinary sizes: {told}; less than half or more than twice is told." if told else "No sizes are kept."
