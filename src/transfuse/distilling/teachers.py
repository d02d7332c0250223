"""Teachers as one network in evaluation mode that answers for the classes of a task.

One Model is taken as it is: its logits, before its own temperature. Several, or one whose classes stand in another
order, become one body (`sources.ensembles`) whose logits are the logarithm of the mean of their calibrated
probabilities.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from transfuse.core.digests import of_many, of_value
from transfuse.core.errors import UsageError
from transfuse.core.nouns import AnyPreprocessing, Model, Source, Step, Task
from transfuse.predicting.folder import load
from transfuse.sources.ensembles import ensemble
from transfuse.sources.inputs import identity
from transfuse.sources.network import Network
from transfuse.sources.opening import open_source
from transfuse.sources.references import find
from transfuse.sources.suiting import suited
from transfuse.tuning.recording import described

AnyTeacher = Model | Source | str | Path


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """What answers for the teachers."""

    models: tuple[Model, ...]
    network: nn.Module
    """Frozen, in evaluation mode: logits (B, C) in the task's order of classes."""
    preprocessing: AnyPreprocessing
    digest: str
    """Of all tensors, how they are put together and how they see their examples."""

    @property
    def name(self) -> str:
        """Of the one, or of all."""
        return " + ".join(model.name for model in self.models)

    @property
    def steps(self) -> tuple[Step, ...]:
        """How they were made."""
        return tuple(model.provenance for model in self.models)

    @property
    def body(self) -> nn.Module | None:
        """Of the one teacher whose inner layers can be read; None for several."""
        single = len(self.models) == 1 and self.network is self.models[0].network
        return self.network.get_submodule("body") if single else None

    def model(self, task: Task) -> Model:
        """As a Model that can be measured."""
        if self.network is self.models[0].network:
            return self.models[0]
        return Model(
            name=self.name,
            modality=task.modality,
            kind=task.kind,
            classes=task.classes,
            preprocessing=self.preprocessing,
            builder={},
            head={"kind": "linear"},
            network=self.network,
            provenance=Step(verb="fuse", method="average", inputs=self.steps),
        )


def opened_teacher(given: AnyTeacher | Sequence[AnyTeacher], task: Task, *, trust_code: bool = False) -> Teacher:
    """Open one teacher or several. Raises `UsageError` when one does not answer the task's question."""
    several = list(given) if isinstance(given, list | tuple) else [given]
    if not several:
        raise UsageError("`teacher` must be at least one Model or Source, but there is none.")
    models = tuple(_opened(one, task, trust_code) for one in several)
    for model in models:
        _require_same_question(model, task)
    if len(models) == 1 and models[0].classes == task.classes:
        network, preprocessing = models[0].network, models[0].preprocessing
    else:
        made = ensemble(models, classes=task.classes, kind=task.kind, form="mean")
        network, preprocessing = nn.Sequential(made.body), made.preprocessing
    network.eval().requires_grad_(False)
    return Teacher(
        models=models, network=network, preprocessing=preprocessing, digest=_digest(models, network, preprocessing)
    )


def _opened(one: Any, task: Task, trust_code: bool) -> Model:
    if isinstance(one, Model):
        return one
    if not isinstance(one, Source):
        if (Path(one) / "model.json").is_file():
            return load(one, trust_code=trust_code)
        one = find(str(one), trust_code=trust_code)
    if one.origin == "model" and one.weights:
        return load(Path(one.weights).parent, trust_code=trust_code)
    return _with_own_head(suited(one, task), task)


def _with_own_head(source: Source, task: Task) -> Model:
    """A source that brings a head of as many classes, which are taken to be the task's in their order."""
    opened = open_source(source)
    outputs = [m.out_features for m in (opened.source_head or nn.Identity()).modules() if isinstance(m, nn.Linear)]
    if not outputs or outputs[-1] != len(task.classes):
        has = f"has one of {outputs[-1]}" if outputs else "has none"
        raise UsageError(
            f"A teacher must have a head of the task's {len(task.classes)} classes, but '{source.name}' {has}."
            f" Transfer it to the task first: transfuse transfer {source.reference} DATA --out TEACHER."
        )
    assert opened.source_head is not None
    return Model(
        name=source.name,
        modality=task.modality,
        kind=task.kind,
        classes=task.classes,
        preprocessing=source.preprocessing,
        builder=source.builder,
        head={"kind": "linear"},
        network=Network(opened.body, opened.source_head).eval(),
        provenance=described(source),
        licence=source.licence,
    )


def _require_same_question(model: Model, task: Task) -> None:
    if (model.kind, model.modality) != (task.kind, task.modality):
        raise UsageError(
            f"A teacher must answer the task's question, {task.kind} {task.modality}, but '{model.name}' is"
            f" {model.kind} {model.modality}."
        )
    if sorted(model.classes) != sorted(task.classes):
        only = [name for name in model.classes if name not in task.classes][:3]
        lacks = [name for name in task.classes if name not in model.classes][:3]
        raise UsageError(
            f"A teacher must have the task's {len(task.classes)} classes, but '{model.name}' has {len(model.classes)}:"
            f" only it has {only}, and it lacks {lacks}."
        )


def _digest(models: Sequence[Model], network: nn.Module, preprocessing: AnyPreprocessing) -> str:
    """SHA-256 of every tensor and of how the teachers are put together."""
    parts = [of_value([model.builder for model in models]), of_value(identity(preprocessing))]
    for name, tensor in network.state_dict().items():
        data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        parts.append(f"{name} {tensor.dtype} {tuple(tensor.shape)} {hashlib.sha256(data).hexdigest()}")
    return of_many(parts)
