"""The door of the room: a Model, or a source with data for a head, to the same in another shape, with its costs."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import transfuse
from transfuse.core.errors import UsageError
from transfuse.core.nouns import Model, Step, Task
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.evaluating.assessing import require_same_question
from transfuse.predicting.folder import load
from transfuse.predicting.guarding import guarded
from transfuse.predicting.predict import logits
from transfuse.probing.calibrating import temperature
from transfuse.reshaping.report import evidence
from transfuse.reshaping.ways import PRESERVING, WAYS, Given
from transfuse.tasks.opening import open_task
from transfuse.tuning.recording import described


def reshape(
    model: Model | str | Path,
    data: Any = None,
    *,
    head: Sequence[str] | int | None = None,
    widen: float | None = None,
    deepen: float | None = None,
    cut: float | None = None,
    prune: float | None = None,
    low_rank: float | None = None,
    activation: str | None = None,
    exits: int | None = None,
    name: str | None = None,
    seed: int = 0,
    trust_code: bool = False,
    run: Run = Run(),
    command: str = "",
) -> Model:
    """Change the size or the structure of a trained Model; several ways are done in the order below.

    Args:
        model: A Model, or the folder of a saved one.
        data: A Task, or whatever one can be opened from; needed by `cut`, `prune`, `low_rank` and `exits`, and shows
            what every way costs in accuracy.
        head: Classes of the new head, by name, or how many; rows of classes that remain are kept.
        widen: Units for each one there is, above 1, such as 1.5; the answers stay the same.
        deepen: Blocks for each one there is, above 1, such as 2; the answers stay the same.
        cut: 0..1, share of the blocks that keep the shape to go.
        prune: 0..1, share of the parameters to go, by whole units that the task misses least.
        low_rank: 0..1, share of the body's parameters to go, by layers of lower rank.
        activation: `relu`, `gelu`, `silu`, `tanh`, `leaky_relu` or `elu` in place of those that there are.
        exits: Depths, besides its end, at which it answers as soon as it is sure.
        name: Name of the model.
        seed: Of everything that is drawn.
        trust_code: Allow a network that is built by the user's own function.
        run: Watcher.
        command: What repeats this, for the report.

    Raises:
        UsageError: No way, or one that does not go with the Model.
        WeightsError, UnknownName, DataError: See their docstrings.
    """
    started = time.monotonic()
    values = dict(zip(WAYS, (head, widen, deepen, cut, prune, low_rank, activation, exits), strict=True))
    wanted = {way: value for way, value in values.items() if value is not None}
    if not wanted:
        raise UsageError(f"`reshape` must be told how, by one of {', '.join(WAYS)}.")
    before = model if isinstance(model, Model) else load(model, trust_code=trust_code)
    task = _task(before, data, seed, run)
    found, facts = before, {}
    for way, value in wanted.items():
        found, facts[way] = WAYS[way](Given(found, task, seed, run), value)
    if not set(wanted) <= set(PRESERVING):
        found = _calibrated(found, task, run)
    step = Step(
        verb="reshape",
        method=" + ".join(wanted),
        options={**plain(wanted), "seed": seed, "found": plain(facts)},
        inputs=(before.provenance, *([described(task)] if task else [])),
        digests={"task": task.digest} if task else {},
        seconds=round(time.monotonic() - started, 3),
        version=transfuse.__version__,
    )
    told = ", ".join(f"{way} {value}" for way, value in wanted.items())
    found = replace(found, name=name or f"{before.name}, {told}"[:200], provenance=step, learnt=None)
    return replace(found, **evidence(before, found, task, facts, run=run, command=command))


def _task(model: Model, data: Any, seed: int, run: Run) -> Task | None:
    task = data if data is None or isinstance(data, Task) else open_task(data, seed=seed, run=run)
    if task is not None:
        require_same_question(task, model)
    return task


def _calibrated(model: Model, task: Task | None, run: Run) -> Model:
    """With the temperature and the confidences of its new answers; without any where no example tells them."""
    if task is None or task.classes != model.classes:
        return replace(model, confidences=(), guard=None)
    valid = task.splits["valid"]
    logits_NC = logits(model.network, valid.items, model.preprocessing, run=run)
    model = replace(model, temperature=temperature(logits_NC, valid.targets, model.kind))
    return guarded(replace(model, guard=None), task, run=run)
