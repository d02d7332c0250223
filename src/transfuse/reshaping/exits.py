"""Early exits: heads at several depths of a trained network, solved in closed form on the task's training examples.

See `sources.exits` for the network and its papers. The trunk stays as it is, so its last exit answers as before. Each
head is a ridge head on pooled features (`probing.heads`), its temperature that of the validation split; one confidence
for all exits is the lowest with which the validation split loses no more than allowed.
Letters: N examples, C classes, D features, E exits with the last one.
"""

import copy
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Examples, Model, Task
from transfuse.evaluating.assessing import split_of
from transfuse.measuring.intervals import mcnemar, wilson
from transfuse.probing.calibrating import temperature
from transfuse.probing.heads import fit_head
from transfuse.sources import bodies, inputs, staging
from transfuse.sources.changes.table import with_change
from transfuse.sources.changes.truncated import TruncatedBody
from transfuse.sources.depths import FINAL, spread
from transfuse.sources.exits import ExitsBody
from transfuse.sources.network import Network

_BATCH = 64
_PROVEN = 0.05
"""Below this p-value (McNemar, two-sided) a loss counts as proven."""


def early_exits(
    model: Model, task: Task, depths: Sequence[str] | int = 3, *, most: float | None = 0.5
) -> tuple[Model, dict[str, Any]]:
    """A Model that answers as early as it is sure, and the facts on the validation split.

    depths: Where the exits are: names, shallow to deep, or how many, evenly spread.
    most: Points of accuracy that may be lost on the validation split; None: any that its examples do not prove, which
        with few of them may be much.

    Raises `UsageError` for networks without depths to cut at, other kinds than single-label, or a negative `most`.
    """
    if model.kind != "single-label":
        raise UsageError(f"Early exits need classes that exclude each other, but '{model.name}' is {model.kind}.")
    if most is not None and not most >= 0:
        raise UsageError(f"`most` must be points of accuracy, at least 0, but is {most:g}.")
    train, valid = split_of(task, "train", model), split_of(task, "valid", model)
    body, described = _body(model, depths)
    _solve(body, model, train, valid)
    held = _judged(body, model, valid)
    body.threshold_E.fill_(_threshold(held, most))
    early = _early(model, body, described)
    return early, measured(model, early, valid)


def _body(model: Model, depths: Sequence[str] | int) -> tuple[ExitsBody, dict[str, Any]]:
    """The trunk with heads of random weights, the last one the Model's own; what describes it."""
    network = copy.deepcopy(model.network)
    assert isinstance(network, Network)
    trunk = network.body.eval()
    known = () if isinstance(trunk, staging.Layered) else staging.depths(trunk)
    if not known:
        raise UsageError(
            f"'{model.name}' cannot be cut between its layers, so it has no early exits. Networks of pictures and"
            " sounds can; those of texts and tables run in one piece."
        )
    if isinstance(depths, int):
        depths = [name for name in spread(known, depths + 1) if name != FINAL]
    names = [staging.resolved(name, known) for name in depths]
    names = sorted(dict.fromkeys(names), key=known.index)
    if not names:
        raise UsageError("Early exits need at least one depth.")
    sizes = _sizes(trunk, names, model)
    facts = {"depths": names, "sizes": sizes, "classes": len(model.classes), "head": dict(model.head)}
    body = ExitsBody(trunk, facts)
    body.heads[-1] = network.head
    body.temperature_E[-1] = model.temperature
    return body.eval().requires_grad_(False), facts


def _sizes(trunk: nn.Module, names: Sequence[str], model: Model) -> list[int]:
    """D at every exit and at the end."""
    blank = inputs.blank(model.preprocessing, 2)
    with torch.no_grad():
        maps = staging.at_depths(trunk, (*names, FINAL))(blank)
    last = bodies.gives_channels_last(trunk)
    return [bodies.pooled(map_, map_.ndim, last).shape[1] for map_ in maps]


def _solve(body: ExitsBody, model: Model, train: Examples, valid: Examples) -> None:
    """Heads from training features; temperatures from validation answers."""
    x_END, v_END = _features(body, model, train), _features(body, model, valid)
    for place, (x_ND, v_ND) in enumerate(zip(x_END, v_END, strict=True)):
        found = fit_head(
            x_ND, train.targets, model.kind, method="ridge", classes=len(model.classes), weights_N=train.weights,
            groups=train.groups,
        )  # fmt: skip
        head = body.heads[place]
        assert isinstance(head, nn.Linear)
        head.weight.data.copy_(torch.from_numpy(found.weight_CD))
        head.bias.data.copy_(torch.from_numpy(found.bias_C))
        z_NC = v_ND.astype(np.float64) @ found.weight_CD.T + found.bias_C
        body.temperature_E[place] = temperature(z_NC, valid.targets, model.kind)


def _features(body: ExitsBody, model: Model, examples: Examples) -> list[np.ndarray]:
    """At every exit but the last, (N, D)."""
    names = body.depths
    reader = staging.at_depths(body.of, names)
    found: list[list[Tensor]] = [[] for _ in names]
    with torch.no_grad():
        for batch in _batches(model, examples):
            for place, map_ in enumerate(reader(batch)):
                found[place].append(body.pooled(map_))
    return [torch.cat(own).numpy() for own in found]


def _batches(model: Model, examples: Examples) -> list[Tensor]:
    return list(inputs.batches(examples.items, model.preprocessing, _BATCH))  # of pictures in their order


@dataclass(frozen=True, kw_only=True)
class _Judged:
    """What every exit would answer."""

    confidence_EN: np.ndarray
    right_EN: np.ndarray
    cost_E: np.ndarray
    """Share of the whole's operations that an answer of each exit takes."""


def _judged(body: ExitsBody, model: Model, examples: Examples) -> _Judged:
    scores: list[list[Tensor]] = [[] for _ in body.heads]
    with torch.no_grad():
        for batch in _batches(model, examples):
            x = batch
            for place, segment in enumerate(body._traced):
                x = segment(x)
                scores[place].append(body.scores(place, x))
    s_ENC = torch.stack([torch.cat(own) for own in scores]).double().numpy()
    right_EN = s_ENC.argmax(2) == np.asarray(examples.targets)[None]
    return _Judged(confidence_EN=np.exp(s_ENC.max(2)), right_EN=right_EN, cost_E=costs(body, model))


def costs(body: ExitsBody, model: Model) -> np.ndarray:
    """Operations until each exit, its heads included, as shares of those of the network without early exits."""
    x, done, found = inputs.blank(model.preprocessing), 0.0, []
    with torch.no_grad():
        for place, segment in enumerate(body._traced):
            with FlopCounterMode(display=False) as trunk:
                x = segment(x)
            with FlopCounterMode(display=False) as head:
                body.scores(place, x)
            last = trunk.get_total_flops()
            done += last + head.get_total_flops()
            found.append(done)
    extra = sum(2 * module.weight.numel() for module in list(body.heads)[:-1])  # type: ignore[misc, operator, union-attr]
    return np.asarray(found) / (found[-1] - extra)


def _threshold(held: _Judged, most: float | None) -> float:
    """The lowest confidence from which on no higher one loses too much."""
    candidates = np.unique(np.quantile(held.confidence_EN[:-1], np.linspace(0, 1, 201)))
    best = 1.0 + 1e-6  # never sure
    for value in candidates[::-1]:
        if not _allowed(held, float(value), most):
            break
        best = float(value)
    return best


def _allowed(held: _Judged, threshold: float, most: float | None) -> bool:
    exit_N = first_sure(held.confidence_EN, threshold)
    early_N, whole_N = held.right_EN[exit_N, np.arange(len(exit_N))], held.right_EN[-1]
    if most is not None:
        return bool((whole_N.mean() - early_N.mean()) * 100 <= most + 1e-9)
    lost, won = int((whole_N & ~early_N).sum()), int((early_N & ~whole_N).sum())
    return lost <= won or mcnemar(lost, won) >= _PROVEN


def first_sure(confidence_EN: np.ndarray, threshold: float) -> np.ndarray:
    """The exit at which each example is answered, (N,)."""
    sure_EN = confidence_EN >= threshold
    sure_EN[-1] = True
    return sure_EN.argmax(0)


def _early(model: Model, body: ExitsBody, described: dict[str, Any]) -> Model:
    """Log-probabilities are the answers, so the Model's head passes them on."""
    classes = len(model.classes)
    head = nn.Linear(classes, classes)
    with torch.no_grad():
        head.weight.copy_(torch.eye(classes))
        head.bias.zero_()
    return replace(
        model, builder={"exits": {"of": model.builder, **described}}, head={"kind": "linear"}, temperature=1.0,
        network=Network(body, head).eval().requires_grad_(False), confidences=(), guard=None, learnt=None, metrics={},
        report=None,
    )  # fmt: skip


def measured(model: Model, early: Model, examples: Examples) -> dict[str, Any]:
    """Accuracy against cost on examples: of both, where answers were given, operations and milliseconds an example."""
    body = early.network.get_submodule("body")
    assert isinstance(body, ExitsBody)
    targets, cost_E = np.asarray(examples.targets), costs(body, early)
    batches = _batches(model, examples)
    with torch.inference_mode():
        begin = time.perf_counter()
        whole = [model.network(batch).argmax(1) for batch in batches]
        middle = time.perf_counter()
        given = [body.answered(batch) for batch in batches]
        end = time.perf_counter()
    exit_N = torch.cat([exits for _, exits in given]).numpy()
    right_N = torch.cat([answers.argmax(1) for answers, _ in given]).numpy() == targets
    before_N = torch.cat(whole).numpy() == targets
    names = (*body.depths, FINAL)
    rows = [_row(names[e], exit_N == e, right_N, float(cost)) for e, cost in enumerate(cost_E)]
    lost, won = int((before_N & ~right_N).sum()), int((right_N & ~before_N).sum())
    return {
        "exits": rows,
        "threshold": float(body.threshold_E[0]),
        "accuracy": _share(right_N),
        "accuracy_whole": _share(before_N),
        "only_whole_right": lost,
        "only_early_right": won,
        "p_value": mcnemar(lost, won),
        "operations": float(cost_E[exit_N].mean()),
        "milliseconds": 1000 * (end - middle) / len(targets),
        "milliseconds_whole": 1000 * (middle - begin) / len(targets),
    }


def _row(name: str, here_N: np.ndarray, right_N: np.ndarray, cost: float) -> dict[str, Any]:
    count = int(here_N.sum())
    right = float(right_N[here_N].mean()) if count else float("nan")
    return {"depth": name, "answered": count / len(here_N), "accuracy": right, "operations": cost}


def _share(right_N: np.ndarray) -> dict[str, float]:
    share, n = float(right_N.mean()), len(right_N)
    low, high = wilson(share, n)
    return {"value": share, "low": low, "high": high, "n": n}


def at_exit(early: Model, depth: str) -> Model:
    """The Model up to one exit: a plain, smaller one that always answers there. Raises `UnknownName`."""
    body = early.network.get_submodule("body")
    if not isinstance(body, ExitsBody):
        raise UsageError(f"'{early.name}' has no early exits; make them first.")
    name = staging.resolved(depth, body.depths)
    place = body.depths.index(name)
    change = {"change": "truncated", "depth": name}
    trunk = TruncatedBody(copy.deepcopy(body.of), name)
    head = copy.deepcopy(body.heads[place])
    return replace(
        early, name=f"{early.name} up to {name}", builder=with_change(early.builder["exits"]["of"], change),
        head={"kind": "linear"}, temperature=float(body.temperature_E[place]), network=Network(trunk, head).eval(),
    )  # fmt: skip
