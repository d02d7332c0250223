"""From a network that was made to a Model with its record."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from transfuse.core.nouns import Model, Section, Source, Step, Task
from transfuse.core.provenance import plain
from transfuse.sources.inputs import identity
from transfuse.tuning.outcome import Outcome


def as_model(outcome: Outcome, task: Task, step: Step, name: str) -> Model:
    """A method's outcome as a Model, laid out in memory as it will be when it is opened again.

    Training and what was trained before leave different layouts, whose answers differ in the last digits.
    """
    network = outcome.network.eval().requires_grad_(False).cpu()
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return Model(
        name=name,
        modality=task.modality,
        kind=task.kind,
        classes=task.classes,
        preprocessing=outcome.preprocessing,
        builder=outcome.builder,
        head=plain(outcome.head),
        network=network,
        temperature=outcome.temperature,
        target_scale=outcome.target_scale,
        provenance=step,
        licence=outcome.licence,
        guard=outcome.guard,
        learnt=outcome.learnt,
    )


def described(noun: Source | Task) -> Step:
    """Where a source or a task came from, as a leaf of the provenance tree."""
    if isinstance(noun, Source):
        facts = {"reference": noun.reference, "licence": noun.licence, "preprocessing": identity(noun.preprocessing)}
        return Step(verb="source", method=noun.name, options=facts, digests={"source": noun.digest})
    sizes = {split: len(examples) for split, examples in noun.splits.items()}
    known: dict[str, Any] = {
        "kind": noun.kind,
        "classes": len(noun.classes),
        "examples": sizes,
        "seed": noun.seed,
        **plain(noun.description),
    }
    return Step(verb="task", method=noun.name, options=known, digests={"task": noun.digest})


def learning_curves(curves: Mapping[str, Sequence[Mapping[str, float]]], metric: str) -> Section:
    """The validation metric against the steps of everything that was trained."""
    series = [
        {"name": name, "points": [[point["step"], point[metric]] for point in points]}
        for name, points in curves.items()
        if points
    ]
    return Section(
        kind="curves", title="Learning curves", content={"x": "step", "y": f"validation {metric}", "series": series}
    )
