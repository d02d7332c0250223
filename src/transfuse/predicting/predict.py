"""Model x inputs -> answers.

Letters: N inputs, C classes or target columns.
"""

import contextlib
import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from transfuse.core.ahead import ahead
from transfuse.core.errors import DataError, UsageError
from transfuse.core.nouns import AnyPreprocessing, Kind, Model
from transfuse.core.runs import Run
from transfuse.sources.inputs import blocks, decoded, expanded, identity, tensor_of
from transfuse.sources.network import SharedNetwork

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
    return _answered(model, logits(model.network, items, model.preprocessing, run=run))


def probabilities_of_all(
    models: Mapping[str, Model], items: Sequence[Any], *, run: Run = Run()
) -> dict[str, np.ndarray]:
    """The same of several models by name; a body that some of them share sees every item once."""
    found: dict[str, np.ndarray] = {}
    for names in sharing_a_trunk(models):
        if len(names) == 1:
            found[names[0]] = probabilities(models[names[0]], items, run=run)
            continue
        first = models[names[0]]
        heads = [models[name].network.get_submodule("head") for name in names]
        network = SharedNetwork(first.network.get_submodule("body"), heads).eval()
        raw_NC = logits(network, items, first.preprocessing, run=run)
        widths = np.cumsum([len(models[name].classes) for name in names])
        for name, own_NC in zip(names, np.split(raw_NC, widths[:-1], axis=1), strict=True):
            found[name] = _answered(models[name], own_NC)
    return {name: found[name] for name in models}


def sharing_a_trunk(models: Mapping[str, Model]) -> list[list[str]]:
    """Names of the models in groups that have one body, the very same module."""
    groups: dict[int, list[str]] = {}
    for name, model in models.items():
        groups.setdefault(id(model.network.get_submodule("body")), []).append(name)
    return list(groups.values())


def _answered(model: Model, raw_NC: np.ndarray) -> np.ndarray:
    return activated(raw_NC, model.kind, temperature=model.temperature, target_scale=model.target_scale)


def _common_preprocessing(models: Mapping[str, Model]) -> AnyPreprocessing:
    """How inputs are prepared for all models. Raises `UsageError` for none, and for models that want them unlike."""
    found = [model.preprocessing for model in models.values()]
    if not found or any(identity(one) != identity(found[0]) for one in found):
        words = "none is given" if not found else "they prepare inputs in different ways"
        raise UsageError(f"Models that predict together must be of one source, but {words}. Ask them one by one.")
    return found[0]


def predict(
    model: Model | Mapping[str, Model], inputs: Any, *, reject: float | None = None, run: Run = Run()
) -> list[dict[str, Any]]:
    """One answer for each input, in order.

    For pictures `inputs` is a path, an array or a PIL picture; for texts a text or the path of a `.txt` file; or a
    sequence of them. A folder stands for the files in it. An answer has `input` and, by kind, `class` + `confidence` +
    `probabilities`, or `classes` + `probabilities`, or `values`. An input that cannot be read gets `error` in words
    instead; the others are answered. `reject` (0..1) is the share of answers to inputs like those of the validation
    split that is given up, so that inputs that belong to no class are found: each answer then says whether it is
    `rejected`. Of several models (a mapping from task to Model) an answer has `input` and `tasks`, a mapping from task
    to that task's answer; trunks that they share see each input once.
    """
    single = isinstance(model, Model)
    models = {"": model} if isinstance(model, Model) else model
    least = {name: None if reject is None else rejected_below(one, reject) for name, one in models.items()}
    preprocessing = _common_preprocessing(models)
    items = expanded(inputs, preprocessing)
    readable, errors = [], {}
    for place, item in enumerate(items):
        try:
            readable.append(decoded(item, preprocessing))
        except DataError as error:
            errors[place] = str(error)
    outputs = probabilities_of_all(models, readable, run=run)
    rows = (
        {name: _answer(one, outputs[name][row], least[name]) for name, one in models.items()}
        for row in range(len(readable))
    )
    answers = (row[""] if single else {"tasks": row} for row in rows)
    return [
        {"input": _named(item, place)} | ({"error": errors[place]} if place in errors else next(answers))
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
