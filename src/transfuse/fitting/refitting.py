"""The chosen model once more, on training and validation examples together."""

from dataclasses import replace
from typing import Any

import numpy as np

from transfuse.core.digests import of_many
from transfuse.core.nouns import Examples, Task
from transfuse.core.runs import Run
from transfuse.fitting.candidates import Candidate, made


def refitted(chosen: Candidate, task: Task, run: Run, options: dict[str, Any]) -> Candidate:
    """The same method with the rate and the steps that were found, on all labelled examples but the test split.

    Nothing is left to validate on, so the temperature and the share of interpolation are those of the first training.
    """
    facts = chosen.facts
    if chosen.method == "probe":
        found: dict[str, Any] = {name: options[name] for name in ("seed", "class_weights") if name in options}
    else:
        steps = facts["steps"]
        found = {**options, "steps": steps, "rate": facts["rate"], "patience": 0, "validate_every": steps}
    if chosen.method == "finetune":
        found["interpolate"] = False
    again = made(chosen.source, merged(task), chosen.method, run=run.part("refit"), options=found)
    model = replace(again.model, temperature=chosen.model.temperature)
    return replace(again, name=f"{chosen.name}, refitted", model=model, validation=chosen.validation)


def merged(task: Task) -> Task:
    """The task with its validation examples in the training split as well."""
    train, valid = task.splits["train"], task.splits["valid"]
    together = joined(train, valid)
    return replace(task, splits={**task.splits, "train": together}, digest=of_many([task.digest, "merged"]))


def joined(a: Examples, b: Examples) -> Examples:
    """Two splits as one."""
    weighted = a.weights is not None or b.weights is not None
    weights = [np.ones(len(part), np.float32) if part.weights is None else part.weights for part in (a, b)]
    return Examples(
        items=[*a.items, *b.items],
        targets=np.concatenate([a.targets, b.targets]),
        digests=a.digests + b.digests,
        names=a.names + b.names,
        weights=np.concatenate(weights) if weighted else None,
        groups=a.groups + b.groups if a.groups is not None and b.groups is not None else None,
    )
