"""Saved Models as parents: the result is a saved Model again, with all parents in its provenance."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import transfuse
from transfuse.core.errors import WeightsError
from transfuse.core.nouns import Model, Step
from transfuse.core.provenance import plain
from transfuse.fusing.recipes import Recipe
from transfuse.predicting.folder import load, read_document
from transfuse.weights.files import read_tensors
from transfuse.weights.matching import load_into

_SAME = ("modality", "kind", "classes", "builder", "head", "preprocessing", "target_scale")
_LABELS = {"target_scale": "scale of targets", "builder": "network", "classes": "list of classes"}


def require_alike(documents: Mapping[str, Mapping[str, Any]]) -> None:
    """Raise `WeightsError` when saved Models differ in what their weights mean."""
    (first, known), *others = documents.items()
    for path, document in others:
        for field in _SAME:
            if document.get(field) != known.get(field):
                raise WeightsError(
                    f"Parents must have one {_LABELS.get(field, field)}, but those of '{first}' and '{path}' differ."
                    " Models of different networks are fused by their predictions."
                )


def as_model(
    recipe: Recipe, tensors: Path, paths: Sequence[str], *, seconds: float, trust_code: bool = False
) -> tuple[Model, dict[str, Model]]:
    """The merged tensors as a Model, and its parents by path."""
    parents = {path: load(path, trust_code=trust_code) for path in paths}
    first = load(paths[0], trust_code=trust_code)  # its network becomes the result's
    load_into(first.network, read_tensors(tensors))
    step = Step(
        verb="fuse",
        method=recipe.method,
        options=plain(recipe),
        inputs=tuple(parent.provenance for parent in parents.values()),
        digests={path: str(load_digest(Path(path))) for path in paths},
        seconds=round(seconds, 3),
        version=transfuse.__version__,
    )
    names = [parent.name for parent in parents.values()]
    licences = dict.fromkeys(parent.licence for parent in parents.values())
    temperature = math.exp(sum(math.log(parent.temperature) for parent in parents.values()) / len(parents))
    model = replace(
        first, name=f"{recipe.method} of {', '.join(names)}"[:200], provenance=step, metrics={}, report=None,
        learnt=None, guard=None, temperature=temperature, licence="; ".join(licences),
    )  # fmt: skip
    return model, parents


def load_digest(folder: Path) -> str:
    """The digest of a saved Model's weights, as its document tells it."""
    return str(read_document(folder)["digest"])
