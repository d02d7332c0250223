"""Model x inputs -> answers.

Letters: N inputs, C classes or target columns.
"""

import contextlib
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from transfuse.core.ahead import ahead
from transfuse.core.errors import DataError, UsageError
from transfuse.core.nouns import AnyPreprocessing, Kind, Model
from transfuse.core.runs import Run
from transfuse.sources.inputs import blocks, decoded, expanded, tensor_of

_AHEAD = 4  # batches prepared ahead of the network
_QUANTILES = 201  # of the confidence on the validation split that a Model keeps


def logits(
    network: nn.Module, items: Sequence[Any], preprocessing: AnyPreprocessing, *, run: Run = Run(), batch_size: int = 64
) -> np.ndarray:
    """Outputs of a network in evaluation mode, float32 (N, C), in the order of `items`."""
    # a body of buffers alone, such as counted words, has no parameters
    device = next(itertools.chain(network.parameters(), network.buffers())).device
    was_training = network.training
    network.eval()
    places = blocks(items, preprocessing, batch_size)
    outputs_NC, done = np.zeros((0, 0), np.float32), 0
    prepared = ahead(
        lambda index_B: tensor_of([items[place] for place in index_B.tolist()], preprocessing),
        places,
        workers=2,
        waiting=_AHEAD,
    )
    with contextlib.closing(prepared), torch.inference_mode():
        for index_B, x in zip(places, prepared, strict=True):
            found_BC = network(x.to(device)).float().cpu().numpy()
            outputs_NC = np.empty((len(items), found_BC.shape[1]), np.float32) if not done else outputs_NC
            outputs_NC[index_B] = found_BC
            done += len(index_B)
            run.watch({"stage": "predicting", "done": done, "total": len(items), "text": ""})
    network.train(was_training)
    return outputs_NC


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


def predict(model: Model, inputs: Any, *, reject: float | None = None, run: Run = Run()) -> list[dict[str, Any]]:
    """One answer for each input, in order.

    For pictures `inputs` is a path, an array or a PIL picture; for texts a text or the path of a `.txt` file; or a
    sequence of them. A folder stands for the files in it. An answer has `input` and, by kind, `class` + `confidence` +
    `probabilities`, or `classes` + `probabilities`, or `values`. An input that cannot be read gets `error` in words
    instead; the others are answered. `reject` (0..1) is the share of answers to inputs like those of the validation
    split that is given up, so that inputs that belong to no class are found: each answer then says whether it is
    `rejected`.
    """
    least = None if reject is None else rejected_below(model, reject)
    items = expanded(inputs, model.preprocessing)
    readable, errors = [], {}
    for place, item in enumerate(items):
        try:
            readable.append(decoded(item, model.preprocessing))
        except DataError as error:
            errors[place] = str(error)
    answers_MC = iter(probabilities(model, readable, run=run))
    return [
        {"input": _named(item, place)}
        | ({"error": errors[place]} if place in errors else _answer(model, next(answers_MC), least))
        for place, item in enumerate(items)
    ]


def confidences_of(outputs_NC: np.ndarray, kind: Kind) -> tuple[float, ...]:
    """What a Model keeps of its answers on the validation split; nothing but for classes that exclude each other."""
    if kind != "single-label" or not len(outputs_NC):
        return ()
    return tuple(np.quantile(outputs_NC.max(1), np.linspace(0, 1, _QUANTILES)).tolist())


def rejected_below(model: Model, share: float) -> float:
    """The confidence below which a share (0..1) of the answers on the validation split lies."""
    if not 0 <= share < 1:
        raise UsageError(f"`reject` must be at least 0 and below 1, but is {share}.")
    if model.kind != "single-label":
        raise UsageError(f"`reject` must go with a single-label model, but '{model.name}' is {model.kind}.")
    if not model.confidences:
        raise UsageError(
            f"`reject` needs the confidences of the validation split, which '{model.name}' was saved without. Fit it"
            " again."
        )
    return float(np.interp(share, np.linspace(0, 1, len(model.confidences)), model.confidences)) if share else 0.0


def _answer(model: Model, outputs_C: np.ndarray, least: float | None = None) -> dict[str, Any]:
    values = {name: float(value) for name, value in zip(model.classes, outputs_C, strict=True)}
    if model.kind == "regression":
        return {"values": values}
    if model.kind == "multi-label":
        return {"classes": [name for name, value in values.items() if value >= 0.5], "probabilities": values}
    best = int(outputs_C.argmax())
    found = {"class": model.classes[best], "confidence": float(outputs_C[best]), "probabilities": values}
    return found if least is None else {**found, "rejected": bool(outputs_C[best] < least)}


def _named(item: Any, place: int) -> str:
    return str(item) if isinstance(item, str | Path) else f"input {place}"
