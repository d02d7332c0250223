"""The part of `fit` that is for tables: a linear model, trees, the network, and what earlier tables know, side by side.

The linear model and the trees stand in every report: what a practitioner would do first must be beaten to be replaced.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from transfuse.core.errors import BudgetError
from transfuse.core.nouns import Source, Task
from transfuse.core.runs import Run
from transfuse.evaluating.assessing import Assessment
from transfuse.evaluating.compare import difference, in_words
from transfuse.fitting.candidates import Candidate, made
from transfuse.fitting.choosing import best
from transfuse.fitting.progress import Progress
from transfuse.fitting.trainings import attempt
from transfuse.sources.table_sources import unfitted
from transfuse.training.options import Fit, default_steps
from transfuse.transferring.answering import answers_the_same
from transfuse.transferring.options import own_options
from transfuse.transferring.transfer import about_columns

_BATCH = 128
_LARGE = 2000  # training rows from which batches are of `_BATCH` rows
_PASSES = 60  # over the training rows, at most, for the network; it stops early


def candidates(
    found: Sequence[Source], task: Task, run: Run, options: Mapping[str, Any], progress: Progress, *, network: bool
) -> None:
    """Every candidate for a table goes into `progress`; the fast ones first, so that a short budget gives a model."""
    earlier = [source for source in found if source.weights is not None]
    columns, fresh = unfitted("columns"), unfitted("network")
    shared = {name: value for name, value in options.items() if name in ("seed", "class_weights")}
    progress.candidates.append(made(columns, task, "probe", run=run, options=dict(shared), label="linear model"))
    grown = {**shared, **_of(options, "trees")}
    attempt(columns, task, "trees", run, run.remaining() * 0.3, grown, progress)
    for source in earlier:
        _from_earlier(source, task, run, shared, grown, progress)
    if network and not progress.interrupted:
        trained = _training(task, options)
        for source in (s for s in earlier if "tabular" in s.builder and not progress.interrupted):
            attempt(source, task, "finetune", run, run.remaining() * 0.5, trained, progress)
        if not progress.interrupted:
            same = {name: value for name, value in trained.items() if name not in ("layer_decay", "interpolate")}
            attempt(fresh, task, "scratch", run, run.remaining() * 0.8, same, progress)
    _decide(progress)


def _from_earlier(
    source: Source, task: Task, run: Run, shared: Mapping[str, Any], grown: dict[str, Any], progress: Progress
) -> None:
    """What an earlier table's model knows: frozen, and under new trees."""
    progress.warnings += about_columns(source, task)
    if answers_the_same(source, task):
        progress.candidates.append(made(source, task, "unchanged", run=run, options=dict(shared)))
    try:
        progress.candidates.append(made(source, task, "probe", run=run, options=dict(shared)))
    except BudgetError as error:
        progress.warn("budget", f"The probe of {source.name} was not tried: {error}")
    attempt(source, task, "trees", run, run.remaining() * 0.3, grown, progress)


def _of(options: Mapping[str, Any], method: str) -> dict[str, Any]:
    own = own_options(method)
    return {name: value for name, value in options.items() if name in own}


def _training(task: Task, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the network's training: those given, and a length and batches that suit rows."""
    rows = len(task.splits["train"])
    batch = _BATCH if rows >= _LARGE else Fit().batch_size
    steps = min(default_steps(rows) * 3, math.ceil(_PASSES * rows / batch))
    known = {name: value for name, value in options.items() if name not in own_options("trees")}
    return {"steps": max(steps, 200), "batch_size": batch, **known}


def _decide(progress: Progress) -> None:
    """Which kind of model leads on validation, and whether what an earlier table knew helped."""
    scores = ", ".join(f"{c.name} {c.score[0]:.4f}" for c in sorted(progress.candidates, key=lambda c: -c.score[0]))
    progress.decide(
        "Which kind of model suits the table?", f"{scores} (validation).", f"{best(progress.candidates).name}."
    )
    from_source = [c for c in progress.candidates if c.source.weights is not None]
    alone = [c for c in progress.candidates if c.source.weights is None]
    if from_source and alone:
        a, b = best(from_source), best(alone)
        gap = difference(a.validation, b.validation, name=a.deciding)
        sentence = in_words(a.name, b.name, a.deciding, gap)
        answer = "Yes." if gap["low"] > 0 else "No: it hurts." if gap["high"] < 0 else "Not proven."
        progress.decide("Does the earlier table's model help?", f"{sentence} [validation]", answer)


def findings(taken: Candidate, everyone: Sequence[Candidate], assessments: Mapping[str, Assessment]) -> list[str]:
    """What was chosen against the linear model and the trees, and what earlier tables bought, by paired differences."""
    metric = taken.deciding
    fresh = [c for c in everyone if c.source.weights is None]
    rivals = [c for c in fresh if c.method in ("probe", "trees") and c is not taken]
    said = []
    for rival in rivals:
        gap = difference(assessments[taken.name], assessments[rival.name], name=metric)
        said.append(in_words(taken.name, rival.name, metric, gap))
    known = [c for c in everyone if c.source.weights is not None]
    if known and fresh:
        a, b = best(known), best(fresh)
        gap = difference(assessments[a.name], assessments[b.name], name=metric)
        begin = "Transfer helped." if gap["low"] > 0 else "Transfer is not proven to help."
        begin = "NEGATIVE TRANSFER." if gap["high"] < 0 else begin
        said.insert(0, f"{begin} {in_words(a.name, b.name, metric, gap)}")
    return said
