"""Saved Models as members of an ensemble: what they must share, what they answer, and the one Model they become.

Letters: M members, N examples, C classes, labels or target columns.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import transfuse
from transfuse.core.errors import UsageError
from transfuse.core.nouns import Examples, Kind, Model, Step, Task
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.fusing.models import load_digest
from transfuse.fusing.outputs.blending import Array, Blend
from transfuse.predicting.folder import load
from transfuse.predicting.predict import probabilities
from transfuse.sources.ensembles import ensemble, order
from transfuse.sources.network import Network


@dataclass(frozen=True, kw_only=True)
class Members:
    """Models that answer one question."""

    models: Mapping[str, Model]
    """By the path that the user gave."""
    classes: tuple[str, ...]
    """In the task's order, or in the first member's."""
    kind: Kind

    @property
    def names(self) -> tuple[str, ...]:
        """The paths."""
        return tuple(self.models)


def open_members(paths: Sequence[str | Path], *, task: Task | None, trust_code: bool) -> Members:
    """The Models at these paths. Raises `UsageError` when they do not answer one question, or not the task's."""
    names = [str(path) for path in paths]
    same = [name for name in names if sum(os.path.realpath(name) == os.path.realpath(o) for o in names) > 1]
    if len(names) < 2 or same:
        told = f"'{same[0]}' is given twice" if same else f"there is {len(names) or 'none'}"
        raise UsageError(f"An ensemble must have at least two different members, but {told}.")
    models = {name: load(name, trust_code=trust_code) for name in names}
    first = models[names[0]]
    for name, model in models.items():
        for field in ("kind", "modality"):
            if getattr(model, field) != getattr(first, field):
                raise UsageError(
                    f"Members of an ensemble must have one {field}, but '{names[0]}' is {getattr(first, field)} and"
                    f" '{name}' is {getattr(model, field)}."
                )
        order(model, first.classes)
    if task is not None and (task.kind != first.kind or task.modality != first.modality):
        raise UsageError(
            f"The task must be of the members' kind, {first.kind} {first.modality}, but is {task.kind} {task.modality}."
        )
    if task is not None and sorted(task.classes) != sorted(first.classes):
        raise UsageError(
            f"The task must have the members' classes, {list(first.classes)[:8]}, but has {list(task.classes)[:8]}."
        )
    return Members(models=models, classes=task.classes if task else first.classes, kind=first.kind)


def answers(model: Model, classes: Sequence[str], examples: Examples, *, run: Run) -> Array:
    """What a member answers, in this order of classes: (N, C)."""
    return probabilities(model, examples.items, run=run)[:, order(model, classes)]


def one_model(
    members: Members, blend: Blend, *, method: str, options: Mapping[str, Any], temperature: float, seed: int
) -> Model:
    """The ensemble as a Model; members of no weight are left out."""
    mean = blend.share_M is not None
    used = [m for m in range(len(members.names)) if blend.share_M is None or blend.share_M[m] > 0]
    models = [members.models[members.names[m]] for m in used]
    share_M = None if blend.share_M is None else [float(blend.share_M[m]) for m in used]
    made = ensemble(
        models, classes=members.classes, kind=members.kind, form="mean" if mean else "scores", weight_M=share_M
    )
    head = _head(blend, made.features, len(members.classes))
    shares = {members.names[m]: round(float(blend.share_M[m]), 6) for m in used} if blend.share_M is not None else {}
    found = {"shares": shares, **dict(blend.facts)}
    step = Step(
        verb="fuse",
        method=method,
        options=plain({**options, "seed": seed, "found": found}),
        inputs=tuple(model.provenance for model in models),
        digests={members.names[m]: load_digest(Path(members.names[m])) for m in used},
        version=transfuse.__version__,
    )
    return Model(
        name=f"{method} of {', '.join(model.name for model in models)}"[:200],
        modality=models[0].modality,
        kind=members.kind,
        classes=members.classes,
        preprocessing=made.preprocessing,
        builder=made.builder,
        head={"kind": "linear"},
        network=Network(made.body, head).eval(),
        temperature=temperature,
        provenance=step,
        licence="; ".join(dict.fromkeys(model.licence for model in models)),
    )


def _head(blend: Blend, features: int, classes: int) -> nn.Module:
    """Of a mean, which is an answer already, one that passes it on."""
    head = nn.Linear(features, classes)
    weight_CX = np.eye(classes) if blend.weight_CX is None else blend.weight_CX
    bias_C = np.zeros(classes) if blend.bias_C is None else blend.bias_C
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(weight_CX))
        head.bias.copy_(torch.from_numpy(bias_C))
    return head
