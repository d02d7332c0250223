"""Teachers: Models of any origin, frozen, each asked about what it shares with the task.

One whose classes are the task's in the same order is taken as it is: its logits, before its own temperature. The
others' answers are brought to the task's classes, or to its units, by `mapped`.

Letters: N examples, C classes of the task, S of them that a teacher knows.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from transfuse.core.digests import of_many, of_value
from transfuse.core.errors import UsageError
from transfuse.core.nouns import AnyPreprocessing, Examples, Kind, Model, Source, Step, Task
from transfuse.core.runs import Run
from transfuse.distilling.labels import Matched, matched, require_known
from transfuse.distilling.mapped import Mapped, Rescaled
from transfuse.predicting.folder import load
from transfuse.predicting.predict import activated, logits
from transfuse.sources.inputs import identity
from transfuse.sources.network import Network
from transfuse.sources.opening import open_source
from transfuse.sources.references import find
from transfuse.sources.remote import RemoteNetwork, is_remote, served
from transfuse.sources.suiting import suited
from transfuse.tuning.recording import described
from transfuse.tuning.targets import target_scale

AnyTeacher = Model | Source | str | Path


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """One that answers."""

    model: Model
    network: nn.Module
    """Frozen, in evaluation mode: logits or standardised values (B, S) of the classes that it knows."""
    matched: Matched
    digest: str
    """Of all tensors, how they are put together, how they see their examples and which classes they answer for."""

    @property
    def name(self) -> str:
        """The model's."""
        return self.model.name

    @property
    def kind(self) -> Kind:
        """What its answers are."""
        return self.model.kind

    @property
    def preprocessing(self) -> AnyPreprocessing:
        """How it sees its examples."""
        return self.model.preprocessing

    @property
    def whole(self) -> bool:
        """Whether it knows every class of the task."""
        return not self.matched.lacking

    @property
    def body(self) -> nn.Module | None:
        """Whose inner layers can be read."""
        return self.model.network.body if isinstance(self.model.network, Network) else None

    @property
    def size(self) -> int:
        """Parameters."""
        return sum(parameter.numel() for parameter in self.model.network.parameters())

    def probabilities(self, examples: Examples, task: Task, run: Run = Run()) -> np.ndarray:
        """Calibrated answers about a task's classes, float64 (N, C); 0 (a column's mean) for those it does not know."""
        raw_NS = logits(self.network, examples.items, self.preprocessing, run=run)
        scale, known = target_scale(task), list(self.matched.known)
        if scale is not None:
            full_NC = np.zeros((len(raw_NS), len(task.classes)))
            full_NC[:, known] = raw_NS
            return activated(full_NC, self.kind, target_scale=scale)
        found_NC = np.zeros((len(raw_NS), len(task.classes)))
        found_NC[:, known] = activated(raw_NS, self.kind, temperature=self.model.temperature)
        return found_NC


def opened_teachers(
    given: AnyTeacher | Sequence[AnyTeacher], task: Task, label_map: Mapping[str, str], *, trust_code: bool = False
) -> tuple[Teacher, ...]:
    """Open one teacher or several for a task, whose examples are those that they see.

    Raises `UsageError` when one does not answer the task's question, `UnknownName` for a class in the map that nobody
    has.
    """
    several = list(given) if isinstance(given, list | tuple) else [given]
    if not several:
        raise UsageError("`teacher` must be at least one Model or Source, but there is none.")
    models = tuple(opened_model(one, task, bool(label_map), trust_code) for one in several)
    require_known(label_map, [name for model in models for name in model.classes])
    return tuple(as_teacher(model, task, label_map) for model in models)


def require_found(one: str, trust_code: bool) -> None:
    """Raise now what opening a teacher would raise once the data were read."""
    if not is_remote(one) and not (Path(one) / "model.json").is_file():
        find(one, trust_code=trust_code)


def as_teacher(model: Model, task: Task, label_map: Mapping[str, str]) -> Teacher:
    """A Model that answers for the classes that it shares with a task."""
    if (model.kind, model.modality) != (task.kind, task.modality):
        raise UsageError(
            f"A teacher must answer the task's question, {task.kind} {task.modality}, but '{model.name}' is"
            f" {model.kind} {model.modality}."
        )
    found = matched(model.classes, task.classes, label_map, model.name)
    if task.kind == "regression" and any(len(places) > 1 for places in found.own):
        raise UsageError("`label_map` must give each column of a regression one of the teacher's, but gives several.")
    network = model.network
    if model.classes != task.classes or found.own != tuple((place,) for place in range(len(task.classes))):
        network = Mapped(network, found.own, task.kind, model.temperature)
    scale = target_scale(task)
    if scale is not None and model.target_scale != scale:
        mine = [places[0] for places in found.own]
        own = tuple([part[place] for place in mine] for part in model.target_scale) if model.target_scale else None
        wanted = ([scale[0][place] for place in found.known], [scale[1][place] for place in found.known])
        network = Rescaled(network, (own[0], own[1]) if own else None, wanted)
    network.eval().requires_grad_(False)
    return Teacher(model=model, network=network, matched=found, digest=_digest(model, network, found))


def opened_model(one: Any, task: Task, mapped: bool, trust_code: bool) -> Model:
    """A teacher as a Model; a source's own head is taken to be of the task's classes, or, with a map, of numbers."""
    if isinstance(one, Model):
        return one
    if is_remote(one):
        return _remote(str(one), task)
    if not isinstance(one, Source):
        if (Path(one) / "model.json").is_file():
            return load(one, trust_code=trust_code)
        one = find(str(one), trust_code=trust_code)
    if one.origin == "model" and one.weights:
        return load(Path(one.weights).parent, trust_code=trust_code)
    return _with_own_head(suited(one, task), task, mapped)


def _remote(address: str, task: Task) -> Model:
    """A model on a server; its classes are those that the address names, or as many as the task has."""
    found = served(address)
    classes = found.classes or task.classes
    if task.modality != "image" or task.kind == "regression":
        raise UsageError(f"A server can teach classes of pictures, but the task is {task.kind} {task.modality}.")
    if not classes or (found.outputs or len(classes)) != len(classes):
        raise UsageError(
            f"A server must answer for the {len(classes)} classes of the task, but '{found.name}' answers for"
            f" {found.outputs}. Name them in the address: ?classes=cat,dog."
        )
    return Model(
        name=found.name,
        modality=task.modality,
        kind=task.kind,
        classes=classes,
        preprocessing=found.preprocessing,
        builder={"remote": found.url, "metadata": dict(found.metadata)},
        head={},
        network=RemoteNetwork(found, len(classes)),
        provenance=Step(verb="source", method=found.name, options={"reference": found.url}),
    )


def _with_own_head(source: Source, task: Task, mapped: bool) -> Model:
    """A source that brings a head."""
    opened = open_source(source)
    outputs = [m.out_features for m in (opened.source_head or nn.Identity()).modules() if isinstance(m, nn.Linear)]
    classes = task.classes
    if outputs and mapped:
        classes = tuple(map(str, range(outputs[-1])))
    if not outputs or outputs[-1] != len(classes):
        has = f"has one of {outputs[-1]}" if outputs else "has none"
        raise UsageError(
            f"A teacher must have a head of the task's {len(task.classes)} classes, but '{source.name}' {has}."
            f" Transfer it to the task first: transfuse transfer {source.reference} DATA --out TEACHER; or say which of"
            " its numbers are which classes: --label-map 7=NAME."
        )
    assert opened.source_head is not None
    return Model(
        name=source.name,
        modality=task.modality,
        kind=task.kind,
        classes=classes,
        preprocessing=source.preprocessing,
        builder=source.builder,
        head={"kind": "linear"},
        network=Network(opened.body, opened.source_head).eval(),
        provenance=described(source),
        licence=source.licence,
    )


def _digest(model: Model, network: nn.Module, found: Matched) -> str:
    """SHA-256 of every tensor and of what the answers depend on beside them."""
    parts = [of_value(model.builder), of_value(identity(model.preprocessing)), of_value(list(found.known))]
    for name, tensor in network.state_dict().items():
        data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
        parts.append(f"{name} {tensor.dtype} {tuple(tensor.shape)} {hashlib.sha256(data).hexdigest()}")
    return of_many(parts)
