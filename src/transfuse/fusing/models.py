"""Saved Models as parents: the result is a saved Model again, with all parents in its provenance."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import transfuse
from transfuse.core.errors import WeightsError
from transfuse.core.nouns import Model, Step, Task
from transfuse.core.provenance import plain
from transfuse.core.randomness import key
from transfuse.fusing.alignment.repairing import batch_norms, estimated_anew
from transfuse.fusing.checkpoints import Checkpoint
from transfuse.fusing.pieces import elements_of, floats
from transfuse.fusing.recipes import Recipe
from transfuse.predicting.folder import load, read_document
from transfuse.sources import inputs
from transfuse.weights.files import read_tensors
from transfuse.weights.headers import Entry
from transfuse.weights.matching import load_into

_SAME = ("modality", "kind", "classes", "builder", "head", "preprocessing", "target_scale")
_STATISTICS = ("running_mean", "running_var")
_ROUNDING = 1e-6
"""Of the largest number of a tensor: what averaging or interpolating equal numbers in float32 does, and no training."""
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
        learnt=None, temperature=temperature, licence="; ".join(licences),
    )  # fmt: skip
    return model, parents


def load_digest(folder: Path) -> str:
    """The digest of a saved Model's weights, as its document tells it."""
    return str(read_document(folder)["digest"])


def same_statistics(checkpoints: Iterable[Checkpoint]) -> bool:
    """Whether all parents have the same running statistics, but for rounding: they were trained with these frozen.

    The result belongs to them then, as its parents do; others would be new to its weights.
    """
    first, *others = (_statistics(checkpoint) for checkpoint in checkpoints)
    return all(own.keys() == first.keys() and all(_close(own[name], first[name]) for name in first) for own in others)


def _statistics(checkpoint: Checkpoint) -> dict[str, Entry]:
    return {name: entry for name, entry in checkpoint.entries.items() if name.endswith(_STATISTICS)}


def _close(a: Entry, b: Entry) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    x, y = (floats(elements_of(entry), entry.dtype) for entry in (a, b))
    return bool(np.abs(x - y).max(initial=0.0) <= _ROUNDING * np.abs(y).max(initial=0.0))


def with_statistics(model: Model, task: Task, batches: int = 100) -> int:
    """Estimate the running statistics of batch normalisation anew on training examples; how many examples were seen.

    Averaged weights shift and shrink activations, to which averaged statistics do not belong: Izmailov et al.,
    arXiv 1803.05407, and Jordan et al., "REPAIR", arXiv 2211.08403. The mean over batches is taken, all alike.
    """
    if not batch_norms(model.network):
        return 0
    given = task.splits["train"].items
    order = np.random.default_rng(key(task.seed, "batch statistics")).permutation(len(given))
    items = [given[int(i)] for i in order]  # in their order batches would hold one class each, and vary too little
    chosen = inputs.blocks(items, model.preprocessing, 64)[:batches]
    prepared = (inputs.tensor_of([items[int(i)] for i in rows], model.preprocessing) for rows in chosen)
    return estimated_anew(model.network, prepared)
