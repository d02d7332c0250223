"""Model x inputs -> answers.

An input that cannot be read, is larger than its limits, or is turned away by a filter gets a reason, never a guess; the
others are answered. Letters: N inputs, B inputs of a batch, C classes or target columns.
"""

import contextlib
import itertools
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from transfuse.core.ahead import ahead
from transfuse.core.errors import DataError, UsageError
from transfuse.core.nouns import AnyPreprocessing, Kind, Model
from transfuse.core.runs import Run
from transfuse.predicting.reading import Part, parts
from transfuse.predicting.turning_away import Asked, Ood, Rules, answer, asked_for, refused
from transfuse.probing.outside import FEATURED
from transfuse.sources.inputs import Refused, blocks, expanded, identity, tensor_of
from transfuse.sources.network import SharedNetwork
from transfuse.tasks.limits import Limits

_AHEAD = 4  # batches prepared ahead of the network
_QUANTILES = 201  # of the confidence on the validation split that a Model keeps


def logits(
    network: nn.Module, items: Sequence[Any], preprocessing: AnyPreprocessing, *, run: Run = Run(), batch_size: int = 64
) -> np.ndarray:
    """Outputs of a network in evaluation mode, float32 (N, C), in the order of `items`."""
    # a body of buffers alone, such as counted words, has no parameters; that of plain columns has neither
    device = next((tensor.device for tensor in itertools.chain(network.parameters(), network.buffers())), None)
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
    return {name: found.outputs_NC for name, found in asked(models, items, run=run).items()}


def asked(
    models: Mapping[str, Model], items: Sequence[Any], *, scored: Set[str] = frozenset(), run: Run = Run()
) -> dict[str, Asked]:
    """Logits and answers of several models; of those in `scored` the features too, where their guard asks for them."""
    found: dict[str, Asked] = {}
    for names in sharing_a_trunk(models):
        group = [models[name] for name in names]
        featured = any(
            name in scored and one.guard and one.guard.score in FEATURED for name, one in zip(names, group, strict=True)
        )
        heads = [one.network.get_submodule("head") for one in group] + [nn.Identity()] * featured
        alone = len(heads) == 1
        network = group[0].network if alone else SharedNetwork(group[0].network.get_submodule("body"), heads).eval()
        raw = logits(network, items, group[0].preprocessing, run=run)
        ends = np.cumsum([len(one.classes) for one in group])
        *parts, rest = np.split(raw, ends, axis=1)
        for name, own_NC in zip(names, parts, strict=True):
            found[name] = Asked(own_NC, _answered(models[name], own_NC), rest if featured else None)
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
    model: Model | Mapping[str, Model],
    inputs: Any,
    *,
    reject: float | None = None,
    ood: Ood = "flag",
    strict: bool = False,
    limits: Limits = Limits(),
    run: Run = Run(),
) -> list[dict[str, Any]]:
    """One answer for each input, in order.

    For pictures `inputs` is a path, an array or a PIL picture; for texts a text or the path of a `.txt` file; or a
    sequence of them. A folder stands for the files in it. An answer has `input`, `rejected` and, by kind, `class` +
    `confidence` + `probabilities`, or `classes` + `probabilities`, or `values`; where the input is unlike what the
    model learnt from, `warnings` in words. A rejected one has `reason` instead, and no answer. Of several models (a
    mapping from task to Model) an answer has `input` and `tasks`, a mapping from task to that task's answer; trunks
    that they share see each input once.

    Args:
        model: A Model, or those of several tasks.
        inputs: What to answer for.
        reject: 0..1: share of answers to inputs like those of the validation split that is given up, least sure first.
        ood: What becomes of inputs that score as strange as hardly any of the validation split (`Guard`): `flag` says
            so in `outside`, `reject` turns them away, `off` does not ask.
        strict: Reject what would only be warned of: sizes, ranges and categories that training did not have.
        limits: What one input may ask of this machine, by its header, before it is decoded.
        run: Watcher.
    """
    single = isinstance(model, Model)
    models = {"": model} if isinstance(model, Model) else model
    rules = {
        name: Rules(None if reject is None else rejected_below(one, reject), asked_for(one, ood))
        for name, one in models.items()
    }
    preprocessing = _common_preprocessing(models)
    items = expanded(inputs, preprocessing, limits)
    found: list[dict[str, Any]] = [{} for _ in items]
    for part in parts(items, models, preprocessing, limits, strict):
        for place, reason in part.reasons.items():
            found[place] = refused(reason)
        for place, said, row in zip(part.places, part.warnings, _rows(models, part, rules, run), strict=True):
            own = {name: answer(models[name], one, rules[name]) for name, one in row.items()}
            told = own[""] if single else {"tasks": own}
            found[place] = {**told, "warnings": said} if said else told
    return [{"input": _named(item, place), **found[place]} for place, item in enumerate(items)]


def _rows(
    models: Mapping[str, Model], part: Part, rules: Mapping[str, Rules], run: Run
) -> Iterator[Mapping[str, Asked | str]]:
    """What each model says of each input; or why it says nothing."""
    if not part.items:
        return
    scored = frozenset(name for name, rule in rules.items() if rule.ood != "off")
    try:
        found = asked(models, part.items, scored=scored, run=run)
    except DataError as problem:  # of one of them, which is told when it is asked alone
        if len(part.items) == 1:
            yield dict.fromkeys(models, str(problem))
            return
        for place, item in zip(part.places, part.items, strict=True):
            yield from _rows(models, Part(places=[place], items=[item], warnings=[[]]), rules, run)
        return
    for row in range(len(part.items)):
        yield {name: one.row(row) for name, one in found.items()}


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


def _named(item: Any, place: int) -> str:
    if isinstance(item, Refused):
        return item.name
    return str(item) if isinstance(item, str | Path) else f"input {place}"
