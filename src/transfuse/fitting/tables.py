"""The part of `fit` that is for tables: a linear model, trees, the network, and what earlier tables know, side by side.

The linear model and the trees stand in every report: what a practitioner would do first must be beaten to be replaced.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transfuse.core.errors import BudgetError
from transfuse.core.nouns import Source, Task
from transfuse.core.runs import Run
from transfuse.evaluating.assessing import Assessment
from transfuse.evaluating.compare import difference, in_words
from transfuse.fitting import fusing, mixed, shift
from transfuse.fitting import unlabelled as beside
from transfuse.fitting.candidates import Candidate, made
from transfuse.fitting.choosing import best
from transfuse.fitting.progress import Progress
from transfuse.fitting.trainings import attempt
from transfuse.sources.tables.references import unfitted
from transfuse.tasks.tables.encoding import slots_of
from transfuse.tasks.tables.opening import columns_of
from transfuse.training.options import Fit, default_steps
from transfuse.transferring.options import own_options
from transfuse.transferring.transfer import about_columns
from transfuse.tuning.answering import answers_the_same

_BATCH = 128
_LARGE = 2000  # training rows from which batches are of `_BATCH` rows
_RATE = 1e-3
"""Of the network, when none is given. The short search takes 0.01, which cost 0.006 to 0.018 of AUC on four cuts of a
table of incomes."""
_PASSES = 60  # over the training rows, at most, for the network; it stops early


def candidates(
    found: Sequence[Source],
    task: Task,
    run: Run,
    options: Mapping[str, Any],
    progress: Progress,
    *,
    network: bool,
    source_data: Any = None,
    unlabelled: str | Path | None = None,
    folder: Path,
) -> None:
    """Every candidate for a table goes into `progress`; the fast ones first, so that a short budget gives a model.

    Models of a source population are saved in `folder`, where they may be opened again until `fit` has ended.
    """
    earlier = [source for source in found if source.weights is not None and source.modality == "table"]
    population = None if source_data is None else shift.opened_source(source_data, task, task.seed)
    if population is not None:
        progress.warnings += shift.drift(population, task)
        earlier += shift.source_models(population, run, options, folder, network=network)
    columns, fresh = unfitted("columns"), unfitted("network")
    shared = {name: value for name, value in options.items() if name in ("seed", "class_weights")}
    grown = {**shared, **_of(options, "trees")}
    plain = bool(slots_of(columns_of(task)))
    if plain:
        progress.candidates.append(made(columns, task, "probe", run=run, options=dict(shared), label="linear model"))
        attempt(columns, task, "trees", run, run.remaining() * 0.3, grown, progress)
    mixed.fuse_columns(found, task, run, shared, progress, joins=network)
    for source in earlier:
        _from_earlier(source, task, run, shared, grown, progress)
    if population is not None:
        shift.pooled(population, task, run, options, progress)
    if network and plain and not progress.interrupted:
        trained = _training(task, options)
        for source in (s for s in earlier if "tabular" in s.builder and not progress.interrupted):
            attempt(source, task, "finetune", run, run.remaining() * 0.5, trained, progress)
        if not progress.interrupted:
            same = {name: value for name, value in trained.items() if name not in ("layer_decay", "interpolate")}
            share = 0.8 if unlabelled is None else 0.4
            attempt(fresh, task, "scratch", run, run.remaining() * share, same, progress)
        if unlabelled is not None and not progress.interrupted:
            beside.pretrained(unlabelled, task, run, {**same, **_of(options, "pretrained")}, progress)
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
    """Options of the network's training: those given, and a length, batches and a rate that suit rows."""
    rows = len(task.splits["train"])
    batch = _BATCH if rows >= _LARGE else Fit().batch_size
    steps = min(default_steps(rows) * 3, math.ceil(_PASSES * rows / batch))
    others = {*own_options("trees"), *own_options("pretrained")}
    known = {name: value for name, value in options.items() if name not in others}
    return {"steps": max(steps, 200), "batch_size": batch, "rate": _RATE, **known}


def _decide(progress: Progress) -> None:
    """Which kind of model leads on validation, and whether what an earlier table knew helped."""
    scores = ", ".join(f"{c.name} {c.score[0]:.4f}" for c in sorted(progress.candidates, key=lambda c: -c.score[0]))
    progress.decide(
        "Which kind of model suits the table?", f"{scores} (validation).", f"{best(progress.candidates).name}."
    )
    from_source = [c for c in progress.candidates if knows_more(c) and not c.parts]
    alone = [c for c in progress.candidates if not knows_more(c)]
    if from_source and alone:
        a, b = best(from_source), best(alone)
        gap = difference(a.validation, b.validation, name=a.deciding)
        sentence = in_words(a.name, b.name, a.deciding, gap)
        answer = "Yes." if gap["low"] > 0 else "No: it hurts." if gap["high"] < 0 else "Not proven."
        progress.decide("Does the earlier table's model help?", f"{sentence} [validation]", answer)


def knows_more(candidate: Candidate) -> bool:
    """Whether it learnt from anything but the task's own rows."""
    return candidate.source.weights is not None or candidate.learnt_from != "target"


def findings(taken: Candidate, everyone: Sequence[Candidate], assessments: Mapping[str, Assessment]) -> list[str]:
    """What was chosen against the linear model and the trees, and what earlier tables bought, by paired differences."""
    metric = taken.deciding
    fresh = [c for c in everyone if not knows_more(c)]
    rivals = [c for c in fresh if c.method in ("probe", "trees") and c is not taken]
    said = []
    if knows_more(taken) and rivals:  # said below, against the best of them
        rivals = [rival for rival in rivals if rival is not best(fresh)]
    for rival in rivals:
        gap = difference(assessments[taken.name], assessments[rival.name], name=metric)
        said.append(in_words(taken.name, rival.name, metric, gap))
    known = sorted((c for c in everyone if knows_more(c)), key=lambda c: c.score, reverse=True)
    if known and fresh:
        alone = best(fresh)
        told = [_against(c, alone, assessments, metric) for c in known]
        said = [*told, *said]
    fused = fusing.findings(taken, everyone, assessments)
    return [*beside.finding(everyone, assessments), *fused, *said]


def _against(candidate: Candidate, alone: Candidate, assessments: Mapping[str, Assessment], metric: str) -> str:
    """What knowing more was worth against the best that knows the task's rows alone."""
    gap = difference(assessments[candidate.name], assessments[alone.name], name=metric)
    begin = "Transfer helped." if gap["low"] > 0 else "Transfer is not proven to help."
    begin = "NEGATIVE TRANSFER." if gap["high"] < 0 else begin
    return f"{begin} {in_words(candidate.name, alone.name, metric, gap)}"
