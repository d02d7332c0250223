"""Model x inputs -> answers.

Letters: N inputs, C classes or target columns.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from transfuse.core.errors import DataError
from transfuse.core.nouns import Kind, Model, Preprocessing
from transfuse.core.runs import Run
from transfuse.sources.preprocessing import normalise
from transfuse.tasks.decoding import decode
from transfuse.tasks.loading import batches

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"})


def logits(
    network: nn.Module, items: Sequence[Any], preprocessing: Preprocessing, *, run: Run = Run(), batch_size: int = 64
) -> np.ndarray:
    """Outputs of a network in evaluation mode, float32 (N, C), in the order of `items`."""
    device = next(network.parameters()).device
    was_training = network.training
    network.eval()
    outputs: list[np.ndarray] = []
    with torch.inference_mode():
        for pictures in batches(items, preprocessing, batch_size):
            outputs.append(network(normalise(pictures, preprocessing).to(device)).float().cpu().numpy())
            done = sum(len(block) for block in outputs)
            run.watch({"stage": "predicting", "done": done, "total": len(items), "text": ""})
    network.train(was_training)
    return np.concatenate(outputs) if outputs else np.zeros((0, 0), np.float32)


def activated(
    logits_NC: np.ndarray,
    kind: Kind,
    *,
    temperature: float = 1.0,
    target_scale: tuple[Sequence[float], Sequence[float]] | None = None,
) -> np.ndarray:
    """Probabilities (softmax or sigmoid of logits / temperature), or values in the user's units; float64 (N, C)."""
    scaled = logits_NC.astype(np.float64)
    if kind == "regression":
        mean, deviation = target_scale or (0.0, 1.0)
        return scaled * np.asarray(deviation) + np.asarray(mean)
    tensor = torch.from_numpy(scaled / temperature)
    return (tensor.softmax(1) if kind == "single-label" else tensor.sigmoid()).numpy()


def probabilities(model: Model, items: Sequence[Any], *, run: Run = Run()) -> np.ndarray:
    """What the model answers for decodable items, float64 (N, C): probabilities, or values for regression."""
    raw_NC = logits(model.network, items, model.preprocessing, run=run)
    return activated(raw_NC, model.kind, temperature=model.temperature, target_scale=model.target_scale)


def predict(model: Model, inputs: Any, *, run: Run = Run()) -> list[dict[str, Any]]:
    """One answer for each input, in order.

    `inputs` is a path, an array or a PIL picture, or a sequence of them; a folder stands for the pictures in it. An
    answer has `input` and, by kind, `class` + `confidence` + `probabilities`, or `classes` + `probabilities`, or
    `values`. An input that cannot be read gets `error` in words instead; the others are answered.
    """
    items = expanded(inputs)
    pictures, errors = [], {}
    for place, item in enumerate(items):
        try:
            pictures.append(decode(item, model.preprocessing.channels))
        except DataError as error:
            errors[place] = str(error)
    answers_MC = iter(probabilities(model, pictures, run=run))
    return [
        {"input": _named(item, place)}
        | ({"error": errors[place]} if place in errors else _answer(model, next(answers_MC)))
        for place, item in enumerate(items)
    ]


def _answer(model: Model, outputs_C: np.ndarray) -> dict[str, Any]:
    values = {name: float(value) for name, value in zip(model.classes, outputs_C, strict=True)}
    if model.kind == "regression":
        return {"values": values}
    if model.kind == "multi-label":
        return {"classes": [name for name, value in values.items() if value >= 0.5], "probabilities": values}
    best = int(outputs_C.argmax())
    return {"class": model.classes[best], "confidence": float(outputs_C[best]), "probabilities": values}


def expanded(inputs: Any) -> list[Any]:
    """The pictures that `inputs` stands for: see `predict`. Raises `DataError` when there is none."""
    if (
        isinstance(inputs, str | Path)
        or (isinstance(inputs, np.ndarray) and inputs.ndim < 4)
        or not _is_sequence(inputs)
    ):
        inputs = [inputs]
    items: list[Any] = []
    for item in inputs:
        if isinstance(item, str | Path) and Path(item).is_dir():
            items += sorted(path for path in Path(item).rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES)
        else:
            items.append(item)
    if not items:
        raise DataError("There must be at least one picture to predict, but none was given or found.")
    return items


def _is_sequence(inputs: Any) -> bool:
    return isinstance(inputs, Sequence | np.ndarray) and not isinstance(inputs, bytes | Mapping)


def _named(item: Any, place: int) -> str:
    return str(item) if isinstance(item, str | Path) else f"input {place}"
