"""Heads for other classes, and Models parted by classes and joined again.

`swap` keeps the rows of classes that remain. A new class gets the mean of the rows that there were: its score is then
the mean of their scores, which is never above the highest one, so no example is taken from a class that remains (after
"mean" initialisation of new tokens, Hewitt 2021). New rows are alike, but their labels part them at the first step.
`split` gives each group of classes a Model of its own with their rows: its answers are the whole Model's, given that
the class is one of the group, exactly. `join` of Models with one trunk lays the rows side by side: the whole Model
again, bit for bit. Models of different trunks become one network with the features of all and a head in blocks: within
a group it answers as that part; how likely a group is was in no part, so scores of different groups are only as
comparable as the parts' logits are.
Letters: C classes, D features.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Model
from transfuse.core.provenance import plain
from transfuse.core.tables import unknown
from transfuse.sources import beside, bodies
from transfuse.sources.network import Network, head_from


def swap(model: Model, classes: Sequence[str] | int) -> tuple[Model, dict[str, Any]]:
    """The Model with a head for other classes, and the facts: which are kept, new and gone.

    classes: Names; or a number of classes in all, those that the Model has and `new 1`, `new 2`, ... after them.

    Raises `UsageError` for names that repeat, a number below the Model's classes, or new targets of a regression.
    """
    names = _names(model, classes)
    kept = [name for name in names if name in model.classes]
    new = [name for name in names if name not in model.classes]
    if new and model.kind == "regression":
        raise UsageError(
            f"A regression can lose targets but not get new ones by its head alone: {new[:3]}. Transfer it."
        )
    facts = {"kept": len(kept), "new": new, "gone": [name for name in model.classes if name not in names]}
    return with_rows(model, names), facts


def _names(model: Model, classes: Sequence[str] | int) -> tuple[str, ...]:
    if isinstance(classes, int):
        if classes < len(model.classes):
            raise UsageError(
                f"`classes` must be at least the Model's {len(model.classes)} when it is a number, but is {classes}."
                " Name the classes that remain."
            )
        free = (f"new {number}" for number in range(1, classes + len(model.classes) + 1))
        return (*model.classes, *[name for name in free if name not in model.classes][: classes - len(model.classes)])
    if len(set(classes)) < len(classes) or not classes:
        raise UsageError(f"`classes` must be names that do not repeat, at least one, but are {list(classes)[:10]}.")
    return tuple(classes)


def with_rows(model: Model, names: Sequence[str]) -> Model:
    """The Model for these classes in this order; it shares the body."""
    network = model.network
    assert isinstance(network, Network)
    head = copy.deepcopy(network.head)
    last = _last(head)
    places = [model.classes.index(name) if name in model.classes else None for name in names]
    for key, tensor in list(last.named_parameters()):
        if tensor.ndim:  # a cosine head's scale is one number
            rows = [tensor.mean(0) if place is None else tensor[place] for place in places]
            own = nn.Parameter(torch.stack(rows).detach().clone(), requires_grad=tensor.requires_grad)
            setattr(last, key, own)
    if isinstance(last, nn.Linear):
        last.out_features = len(names)
    scale = model.target_scale
    if scale is not None:
        mean, deviation = ([part[place] for place in places if place is not None] for part in scale)
        scale = (tuple(mean), tuple(deviation))
    changed = Network(network.body, head).train(network.training)
    return replace(
        model, classes=tuple(names), network=changed, target_scale=scale, confidences=(), guard=None,
        learnt=None, metrics={}, report=None,
    )  # fmt: skip


def _last(head: nn.Module) -> nn.Module:
    """The layer of a head whose rows are the classes."""
    return [module for module in head.modules() if next(module.parameters(recurse=False), None) is not None][-1]


def split(model: Model, groups: Mapping[str, Sequence[str]]) -> dict[str, Model]:
    """A Model for each group of classes, by the group's name; they share the body.

    Raises `UsageError` for a group without classes, `UnknownName` for a class that the Model does not have.
    """
    for name, classes in groups.items():
        if not classes or len(set(classes)) < len(classes):
            raise UsageError(f"The group '{name}' must have classes that do not repeat, but has {list(classes)[:10]}.")
        for one in classes:
            if one not in model.classes:
                raise unknown(f"class of '{model.name}'", one, model.classes)
    return {name: replace(with_rows(model, classes), name=f"{model.name}, {name}") for name, classes in groups.items()}


def join(models: Sequence[Model], classes: Sequence[str] | None = None) -> tuple[Model, dict[str, Any]]:
    """One Model of several for different classes, and the facts: whether they had one trunk.

    classes: The order; that of the parts by default.

    Raises `UsageError` when classes repeat, when kind, modality or preprocessing differ, or when heads of different
    trunks are not linear.
    """
    _require_joinable(models, classes)
    trunk = _one_trunk(models)
    joined = _side_by_side(models) if trunk else _beside(models)
    names = tuple(name for model in models for name in model.classes)
    joined = replace(joined, classes=names)
    return with_rows(joined, classes or names), {"one_trunk": trunk, "parts": len(models)}


def _require_joinable(models: Sequence[Model], classes: Sequence[str] | None) -> None:
    names = [name for model in models for name in model.classes]
    if len(models) < 2 or len(set(names)) < len(names):
        raise UsageError(
            "Models that are joined must be two or more, of different classes; use `fuse` for the same ones."
        )
    if classes is not None and sorted(classes) != sorted(names):
        raise UsageError(f"`classes` must be those of the parts in another order, but are {list(classes)[:10]}.")
    first = models[0]
    for model in models[1:]:
        if (model.kind, model.modality, model.preprocessing) != (first.kind, first.modality, first.preprocessing):
            raise UsageError(
                f"Models that are joined must see examples in one way and be of one kind, but '{model.name}' differs"
                f" from '{first.name}'."
            )


def _one_trunk(models: Sequence[Model]) -> bool:
    """Whether all but the rows of classes is one: bodies, and heads before their last layer."""
    first, rows = models[0], [_rows(model) for model in models]
    same = all(
        (model.builder, plain(model.head), model.temperature) == (first.builder, plain(first.head), first.temperature)
        for model in models
    )
    if not same:
        return False
    states = [model.network.state_dict() for model in models]
    return all(
        state.keys() == states[0].keys()
        and all(torch.equal(tensor, states[0][name]) for name, tensor in state.items() if name not in own)
        for state, own in zip(states, rows, strict=True)
    )


def _rows(model: Model) -> set[str]:
    """Names in the network's state of the tensors whose rows are the classes."""
    last = _last(model.network.get_submodule("head"))
    own = {id(tensor) for tensor in last.parameters() if tensor.ndim}
    return {name for name, tensor in model.network.named_parameters() if id(tensor) in own}


def _side_by_side(models: Sequence[Model]) -> Model:
    """The rows of all heads under one body."""
    first = models[0]
    assert isinstance(first.network, Network)
    head = copy.deepcopy(first.network.head)
    last, parts = _last(head), [_last(model.network.get_submodule("head")) for model in models]
    for key, tensor in list(last.named_parameters()):
        if tensor.ndim:
            own = torch.cat([part.get_parameter(key) for part in parts]).detach().clone()
            setattr(last, key, nn.Parameter(own, requires_grad=tensor.requires_grad))
    return replace(first, network=Network(first.network.body, head).eval(), target_scale=_scales(models))


def _scales(models: Sequence[Model]) -> Any:
    scales = [model.target_scale for model in models if model.target_scale is not None]
    if len(scales) < len(models):
        return None
    return tuple(tuple(value for scale in scales for value in scale[part]) for part in (0, 1))


def _beside(models: Sequence[Model]) -> Model:
    """Bodies side by side under a linear head in blocks, each divided by its part's temperature."""
    heads = [model.network.get_submodule("head") for model in models]
    linear = [[module for module in head.modules() if isinstance(module, nn.Linear)] for head in heads]
    if any(model.head.get("kind", "linear") != "linear" for model in models) or any(len(one) != 1 for one in linear):
        raise UsageError("Models of different trunks must have linear heads to be joined, but some have not.")
    sizes = [bodies.feature_size(model.network.get_submodule("body"), model.preprocessing) for model in models]
    count = sum(len(model.classes) for model in models)
    body = beside.BesideBody([copy.deepcopy(model.network.get_submodule("body")) for model in models]).eval()
    head = head_from({"kind": "linear"}, sum(sizes), count)
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.weight.copy_(
            torch.block_diag(*[m.weight / t for (m,), t in zip(linear, _temperatures(models), strict=True)])
        )
        head.bias.copy_(torch.cat([m.bias / t for (m,), t in zip(linear, _temperatures(models), strict=True)]))
    return replace(
        models[0],
        name=" + ".join(model.name for model in models)[:200],
        builder={"beside": [model.builder for model in models]},
        head={"kind": "linear"},
        network=Network(body, head).eval().requires_grad_(False),
        temperature=1.0,
        target_scale=_scales(models),
    )


def _temperatures(models: Sequence[Model]) -> list[float]:
    return [model.temperature for model in models]
