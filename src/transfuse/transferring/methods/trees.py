"""trees: gradient-boosted trees, the yardstick of every table, on their own or on top of a source.

LightGBM grows them (Ke et al., "LightGBM: a highly efficient gradient boosting decision tree", NeurIPS 2017) until the
validation loss stops falling; what is kept are plain tensors, for whose answers LightGBM is not needed.
A source can be of use in two ways: its answer is one more column (stacking: Wolpert 1992), or the trees start from its
answer and learn what it lacks (continued boosting). Which, or neither, is chosen by the validation loss.

Relations: without a source the baseline of `finetune` and `scratch` of the network for tables; cannot be fine-tuned.
Letters: N rows, K numbers of a row, S outputs of the source, C classes or target columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Source, TablePreprocessing, Task
from transfuse.core.runs import Run
from transfuse.core.tables import chosen
from transfuse.predicting.predict import logits
from transfuse.probing.calibrating import temperature
from transfuse.sources.network import Network, new_head
from transfuse.sources.opening import open_source
from transfuse.sources.tables.boosted import Boosted
from transfuse.sources.tables.boosted import builder_of as boosted_builder
from transfuse.sources.tables.lightgbm import forest_of
from transfuse.sources.tables.trees import Forest, builder_of
from transfuse.tasks.tables.encoding import slots_of
from transfuse.training.options import Fit
from transfuse.transferring.boosting import Growth, TreeRows, boosters, rounds_of
from transfuse.tuning.answering import answers_the_same
from transfuse.tuning.outcome import Outcome
from transfuse.tuning.targets import require_splits, target_scale

Use = Literal["auto", "alone", "column", "start"]
_LEAVES = (4, 8, 16, 31)
"""Leaves of a tree that are tried, when none are given."""


def trees(
    source: Source,
    task: Task,
    *,
    run: Run = Run(),
    fit: Fit = Fit(),
    rounds: int = 2000,
    growth: float = 0.05,
    leaves: int = 0,
    least: int = 20,
    share: float = 1.0,
    monotone: Mapping[str, int] | None = None,
    feature_weights: Mapping[str, float] | None = None,
    use: Use = "auto",
) -> Outcome:
    """Boosted trees, as many as the validation loss likes, at most `rounds`, each with the weight `growth`.

    `leaves` of a tree at most (0: 4, 8, 16 and 31 are tried), with `least` rows each; every tree sees `share` (0..1) of
    the columns. `monotone` says of columns whether the answer may only rise (1) or fall (-1) with them;
    `feature_weights` what the gain of a column counts. `use` of a source that was trained: its answer as one more
    `column`, as the `start`, `alone` for none, `auto` for the best on the validation split.
    """
    chosen("use of the source", use, ("auto", "alone", "column", "start"))
    preprocessing = source.preprocessing
    if not isinstance(preprocessing, TablePreprocessing):
        raise UsageError("`trees` are for tables. Use 'probe' or 'finetune' for other data.")
    require_splits(task)
    below = None if use == "alone" or source.weights is None else _below(source, task, fit)
    begin = Growth(rounds=rounds, rate=growth, leaves=leaves, least=least, share=share, seed=fit.seed)
    plan = _plan(preprocessing, begin, monotone, feature_weights)
    data = TreeRows.of(task, preprocessing, fit)
    wanted = ["alone"] if below is None else ["alone", "column", "start"] if use == "auto" else [use]
    grown = [found for way in wanted for found in _ways(way, data, below, plan, run)]
    best = min(grown, key=lambda found: found.loss)
    columns = len(slots_of(preprocessing))
    network, builder = _network(best, below, source, columns, len(task.classes))
    warmth = 1.0
    if task.kind != "regression":
        raw_NC = logits(network, task.splits["valid"].items, preprocessing)
        warmth = temperature(raw_NC, task.splits["valid"].targets, task.kind)
    facts = {
        **_facts(best, preprocessing),
        "tried": [{"use": f.way, "leaves": f.leaves, "trees": f.trees, "loss": f.loss} for f in grown],
    }
    return Outcome(
        network=network,
        builder=builder,
        preprocessing=preprocessing,
        temperature=warmth,
        target_scale=target_scale(task),
        licence=source.licence,
        facts=facts,
    )


def regrown(
    source: Source,
    task: Task,
    *,
    found: Mapping[str, Any],
    run: Run = Run(),
    fit: Fit = Fit(),
    growth: float = 0.05,
    least: int = 20,
    share: float = 1.0,
    monotone: Mapping[str, int] | None = None,
    feature_weights: Mapping[str, float] | None = None,
    **others: Any,
) -> Outcome:
    """As many trees as `found` says (the facts of `trees`), on the training split of a task that has grown since.

    Nothing is validated, and the temperature is left at 1. `others` are options of `trees` that `found` has settled.
    """
    preprocessing = source.preprocessing
    assert isinstance(preprocessing, TablePreprocessing)
    begin = Growth(
        rounds=0, rate=growth, leaves=found["leaves"], least=least, share=share, seed=fit.seed,
        exact=tuple(found["rounds"]),
    )  # fmt: skip
    below = None if found["use"] == "alone" else _below(source, task, fit)
    plan = _plan(preprocessing, begin, monotone, feature_weights)
    best = _ways(found["use"], TreeRows.of(task, preprocessing, fit), below, plan, run)[0]
    network, builder = _network(best, below, source, len(slots_of(preprocessing)), len(task.classes))
    return Outcome(
        network=network,
        builder=builder,
        preprocessing=preprocessing,
        target_scale=target_scale(task),
        licence=source.licence,
        facts=_facts(best, preprocessing),
    )


def _plan(
    preprocessing: TablePreprocessing,
    growth: Growth,
    monotone: Mapping[str, int] | None,
    feature_weights: Mapping[str, float] | None,
) -> Growth:
    """With what is asked of single columns, by slot."""
    slots = slots_of(preprocessing)
    names = [slot.column for slot in slots]
    signs = _signs(names, [slot.values for slot in slots], monotone)
    return replace(growth, monotone=signs, contributions=_weights(names, feature_weights))


def _facts(best: "_Grown", preprocessing: TablePreprocessing) -> dict[str, Any]:
    return {
        "use": best.way,
        "leaves": best.leaves,
        "trees": best.trees,
        "rounds": [rounds_of(booster) for booster in best.boosters],
        "gains": _gains(best, [slot.column for slot in slots_of(preprocessing)]),
    }


@dataclass(frozen=True, kw_only=True)
class _Below:
    """A trained source under the trees, and what it answers."""

    network: Network
    features: int
    answers: tuple[np.ndarray, np.ndarray]
    """Of training and validation rows, (N, S)."""
    fits: bool
    """Its outputs are those of the task, so that trees can start from them."""


@dataclass(frozen=True, kw_only=True)
class _Grown:
    way: str
    leaves: int
    boosters: tuple[Any, ...]
    loss: float
    trees: int
    line: tuple[np.ndarray, np.ndarray] | None = None
    """Gain and offset (C each) by which the source's answers become a start."""


def _below(source: Source, task: Task, fit: Fit) -> _Below | None:
    opened = open_source(source, seed=fit.seed)
    if opened.source_head is None:
        return None
    network = Network(opened.body, opened.source_head).eval().requires_grad_(False)
    answers = [logits(network, task.splits[part].items, source.preprocessing) for part in ("train", "valid")]
    fits = answers[0].shape[1] == len(task.classes) and (task.kind == "regression" or answers_the_same(source, task))
    return _Below(network=network, features=opened.feature_size, answers=(answers[0], answers[1]), fits=fits)


def _ways(way: str, data: TreeRows, below: _Below | None, plan: Growth, run: Run) -> list[_Grown]:
    """Trees of every size that is tried, with one use of the source."""
    start, line = None, None
    if below is not None and way == "start":
        if not below.fits:
            return []
        line = _line(below.answers[0], data)
        start = tuple(a * line[0] + line[1] for a in below.answers)
    if below is not None and way == "column":
        x = [np.concatenate(pair, axis=1) for pair in zip(data.x, below.answers, strict=True)]
        data = replace(data, x=(x[0], x[1]))
        more = below.answers[0].shape[1]
        plan = replace(plan, monotone=plan.monotone and (*plan.monotone, *[0] * more),
                       contributions=plan.contributions and (*plan.contributions, *[1.0] * more))  # fmt: skip
    sizes = [plan.leaves] if plan.leaves else _LEAVES
    found: list[_Grown] = []
    for leaves in sizes:
        if found and run.remaining() <= 0:
            break
        grown, loss = boosters(data, start, replace(plan, leaves=leaves), run)
        trees = sum(map(rounds_of, grown))
        found.append(_Grown(way=way, leaves=leaves, boosters=grown, loss=loss, trees=trees, line=line))
        run.watch({"stage": "growing trees", "done": len(found), "total": len(sizes), "text": f"{way}: {loss:.4f}"})
    return found


def _line(answers_NS: np.ndarray, data: TreeRows) -> tuple[np.ndarray, np.ndarray]:
    """For numbers the line from the source's answers to the targets; classes are taken as they are."""
    c = data.classes
    if data.kind != "regression":
        return np.ones(c), np.zeros(c)
    fitted = [np.polyfit(answers_NS[:, k], data.y[0][:, k], 1, w=np.sqrt(data.weights_N)) for k in range(c)]
    return np.array([f[0] for f in fitted]), np.array([f[1] for f in fitted])


def _network(
    best: _Grown, below: _Below | None, source: Source, columns: int, classes: int
) -> tuple[Network, dict[str, Any]]:
    """The trees as a network, and how it is built again."""
    texts = [b.model_to_string(num_iteration=rounds_of(b)) for b in best.boosters]
    several = len(texts) > 1 or classes == 1 or classes > 2
    forest: Forest = forest_of(texts, range(len(texts)) if several else [1], classes)
    body: nn.Module = forest
    builder = builder_of(forest)
    if best.way != "alone" and below is not None:
        outputs = below.answers[0].shape[1]
        stacked = Boosted(below.network, forest, columns=columns, outputs=outputs, starts=best.way == "start")
        if best.line is not None:
            stacked.gain.copy_(torch.from_numpy(best.line[0]))  # type: ignore[operator]
            stacked.offset.copy_(torch.from_numpy(best.line[1]))  # type: ignore[operator]
        body, builder = stacked, boosted_builder(stacked, source.builder, below.features)
    head = new_head(classes, classes)
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.weight.copy_(torch.eye(classes))
        head.bias.zero_()
    return Network(body, head).eval(), builder


def _gains(best: _Grown, slots: Sequence[str]) -> dict[str, float]:
    """Share of the whole gain by column, largest first; the source's answer is `(source)`."""
    total: dict[str, float] = {}
    for booster in best.boosters:
        for place, gain in enumerate(booster.feature_importance("gain").tolist()):
            name = slots[place] if place < len(slots) else "(source)"
            total[name] = total.get(name, 0.0) + gain
    whole = sum(total.values()) or 1.0
    return {name: round(gain / whole, 4) for name, gain in sorted(total.items(), key=lambda p: -p[1])[:20]}


def _signs(slots: Sequence[str], values: Sequence[int], monotone: Mapping[str, int] | None) -> tuple[int, ...]:
    for name, sign in (monotone or {}).items():
        chosen("column", name, set(slots))
        if sign not in (-1, 0, 1):
            raise UsageError(
                f"`monotone` must be 1 (rises), -1 (falls) or 0 for each column, but is {sign!r} for '{name}'."
            )
        if values[list(slots).index(name)]:
            raise UsageError(f"`monotone` must name columns of numbers, but '{name}' is categorical.")
    return tuple(int(monotone.get(name, 0)) for name in slots) if monotone else ()


def _weights(slots: Sequence[str], weights: Mapping[str, float] | None) -> tuple[float, ...]:
    for name, weight in (weights or {}).items():
        chosen("column", name, set(slots))
        if not weight >= 0:
            raise UsageError(f"`feature_weights` must not be negative, but is {weight!r} for '{name}'.")
    return tuple(float(weights.get(name, 1.0)) for name in slots) if weights else ()
