"""Pictures and texts of a source population beside the target's: which use of them helps, if any.

On frozen features: both populations pooled, pooled with the source's examples weighted by how much they look like the
target's, pooled after CORAL moved the source's features (see `probing.aligning`), and the head of the source's
examples alone, unchanged. Then the network that was trained on the source's examples, unchanged and fine-tuned on the
target's. The target alone stands beside all of them; strengths are chosen out of fold, candidates on its validation
split. Letters: N examples of the source, M of the target, D features.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np

import transfuse
from transfuse.core.digests import of_many
from transfuse.core.errors import BudgetError
from transfuse.core.nouns import DataWarning, Features, Source, Step, Task
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.evaluating.assessing import Assessment
from transfuse.evaluating.compare import difference, in_words
from transfuse.fitting.candidates import Candidate, made, measured
from transfuse.fitting.choosing import best
from transfuse.fitting.probes import pretrained
from transfuse.fitting.progress import Progress
from transfuse.fitting.resembling import cropped, drift
from transfuse.fitting.trainings import attempt
from transfuse.measuring.metrics import PRIMARY
from transfuse.predicting.folder import save
from transfuse.predicting.predict import logits
from transfuse.probing.aligning import Ratio, coral_of, density_ratio
from transfuse.probing.calibrating import temperature
from transfuse.probing.heads import Head
from transfuse.sources.depths import FINAL
from transfuse.sources.extraction import features
from transfuse.sources.network import Network
from transfuse.sources.opening import Opened, open_source
from transfuse.sources.references import find
from transfuse.tasks.joining import concatenated, taken
from transfuse.tasks.opening import open_task
from transfuse.tasks.renaming import in_classes_of
from transfuse.tasks.split_tables import TABLES
from transfuse.training.options import Fit
from transfuse.tuning.outcome import HeadShape, Outcome
from transfuse.tuning.recording import as_model, described
from transfuse.tuning.starting import fitted, probed, seeded_head, set_linear
from transfuse.tuning.targets import target_scale

_SHARE_OF_SOURCE = 0.3
"""Of the time left: for training on the source's examples, and again for going on with the target's."""


@dataclass(frozen=True, kw_only=True)
class Frozen:
    """What one frozen source sees of both training splits."""

    source: Source
    opened: Opened
    """With the depths that suit the target."""
    mine_MD: np.ndarray
    theirs_ND: np.ndarray
    ratio: Ratio


def opened_population(data: Any, task: Task, run: Run, progress: Progress) -> Task:
    """The source's examples as a Task with the target's classes, without those that the target is judged by.

    What differs becomes warnings. Raises `DataError` when another question is asked of them.
    """
    if not isinstance(data, Task):
        data = open_task(data, task.modality, kind=task.kind, test=0, seed=task.seed, run=run, **_columns(data, task))
    population, lines = in_classes_of(data, task)
    if lines:
        message = f"The classes of the source's examples and of the data differ in {len(lines)} point(s)."
        progress.warnings.append(DataWarning(code="classes-differ", message=message, places=lines, severity="note"))
    held = {digest for name, part in task.splits.items() if name != "train" for digest in part.digests}
    splits, left_out = {}, []
    for name, part in population.splits.items():
        known = np.array([digest in held for digest in part.digests])
        left_out += [part.names[place] for place in np.flatnonzero(known)]
        splits[name] = taken(part, np.flatnonzero(~known)) if known.any() else part
    if left_out:
        message = f"{len(left_out)} of the source's examples are among those that judge the model; they are left out."
        progress.warnings.append(DataWarning(code="source-in-test", message=message, places=tuple(left_out)))
    return replace(population, splits=splits, digest=of_many([population.digest, *left_out]))


def _columns(data: Any, task: Task) -> dict[str, Any]:
    """Options of opening a table: the target's columns, as far as they are named."""
    if not isinstance(data, str | Path) or Path(data).suffix.lower() not in TABLES:
        return {}
    if Path(str(task.description.get("path", task.description.get("data", "")))).suffix.lower() not in TABLES:
        return {}
    return {name: task.description.get(name) for name in ("target", "text_column", "path_column")}


def frozen(population: Task, task: Task, run: Run, options: Mapping[str, Any], progress: Progress) -> None:
    """Candidates on features of the best probe's source, as it is and, where drift suggests it, cropped to the ink."""
    leader = best(pretrained(progress) or progress.by("probe"))
    sources = [leader.source]
    variant = cropped(leader.source, population, task)
    if variant is not None:
        sources.append(variant)
        progress.candidates.append(made(variant, task, "probe", run=run, options=dict(options)))
    growth = 1 + len(population.splits["train"]) / len(task.splits["train"])
    for source in sources:
        run.watch({"stage": "two populations", "text": source.name})
        if run.remaining() < 2 * growth * leader.seconds:
            progress.warn("budget", f"The source's examples were not tried with {source.name}. Give a longer `budget`.")
            continue
        found = _seen(source, population, task, run, options)
        progress.warnings.append(drift(found.ratio, population, task, by=source.name))
        progress.candidates += _heads(found, population, task, options)
    if variant is not None:
        _about_cropping(leader, best([c for c in progress.candidates if c.source is variant]), progress)


def _about_cropping(whole: Candidate, ink: Candidate, progress: Progress) -> None:
    mine = best([c for c in progress.candidates if c.source.name == whole.source.name])
    gap = difference(ink.validation, mine.validation, name=ink.deciding)
    answer = "Yes." if gap["low"] > 0 else "No: it hurts." if gap["high"] < 0 else "Not proven; both stay candidates."
    sentence = in_words(ink.name, mine.name, ink.deciding, gap)
    progress.decide("Does cropping to the ink help?", f"{sentence} [validation]", answer)


def _seen(source: Source, population: Task, task: Task, run: Run, options: Mapping[str, Any]) -> Frozen:
    fit = _fit(options)
    opened = open_source(source, seed=fit.seed)
    found = probed(opened, task, fit=fit, run=run)
    names = (FINAL,) if found.opened is opened else tuple(found.opened.source.builder["depths"]["names"])
    parts = cast("dict[str, Features]", features(opened, population, "train", names, run=run))
    theirs_ND = np.concatenate([parts[name].x_ND for name in names], axis=1)
    return Frozen(
        source=source,
        opened=found.opened,
        mine_MD=np.asarray(found.x_ND, np.float32),
        theirs_ND=np.asarray(theirs_ND, np.float32),
        ratio=density_ratio(theirs_ND, found.x_ND, seed=fit.seed),
    )


def _heads(found: Frozen, population: Task, task: Task, options: Mapping[str, Any]) -> list[Candidate]:
    """The four ways, each a linear model on the same frozen features."""
    both = together(population, task)
    weights = np.concatenate([np.ones(len(found.mine_MD)), found.ratio.weights_N])
    x_ND = np.concatenate([found.mine_MD, found.theirs_ND])
    aligned_ND = np.concatenate([found.mine_MD, coral_of(found.theirs_ND, found.mine_MD).astype(np.float32)])
    ways = (
        ("pooled", both, x_ND),
        ("importance-weighted", reweighted(both, weights), x_ND),
        ("CORAL", both, aligned_ND),
        ("source-only", population, found.theirs_ND),
    )
    return [_candidate(found, way, (population, task), options) for way in ways]


def _candidate(
    found: Frozen, way: tuple[str, Task, np.ndarray], tasks: tuple[Task, Task], options: Mapping[str, Any]
) -> Candidate:
    started, fit = time.monotonic(), _fit(options)
    label, data, x_ND = way
    population, task = tasks
    head = fitted(x_ND, data, fit, "auto")
    outcome = _outcome(found, head, data, task, fit)
    if label == "importance-weighted":
        outcome = replace(outcome, facts={**outcome.facts, "effective_size": found.ratio.effective})
    alone = label == "source-only"
    step = Step(
        verb="transfer",
        method=label,
        options={"fit": plain(fit), "found": plain(outcome.facts)},
        inputs=(described(found.source), described(population), *(() if alone else (described(task),))),
        digests={"source": found.source.digest, "task": data.digest},
        seconds=round(time.monotonic() - started, 3),
        version=transfuse.__version__,
    )
    model = as_model(outcome, task, step, f"{label} probe of {found.source.name}")
    if alone and task.kind != "regression":
        valid = task.splits["valid"]
        warmth = temperature(logits(model.network, valid.items, model.preprocessing), valid.targets, task.kind)
        model = replace(model, temperature=warmth)
    method = "unchanged" if alone else "probe"
    candidate = measured(model, found.source, task, method=method, options=options)
    return replace(candidate, learnt_from="source" if alone else "both")


def _outcome(found: Frozen, head: Head, data: Task, task: Task, fit: Fit) -> Outcome:
    linear = seeded_head(found.opened.feature_size, len(task.classes), HeadShape(), fit.seed)
    set_linear(linear, head, data)
    return Outcome(
        network=Network(found.opened.body, linear),
        builder=found.opened.source.builder,
        preprocessing=found.source.preprocessing,
        target_scale=target_scale(data),
        facts={"solver": head.method, "strength": head.strength, "features": found.opened.feature_size, "steps": 0},
        licence=found.source.licence,
    )


def _fit(options: Mapping[str, Any]) -> Fit:
    return Fit(**{name: options[name] for name in ("seed", "class_weights") if name in options})


def together(population: Task, task: Task) -> Task:
    """The target's task with the source's training examples after its own."""
    train = concatenated(task.splits["train"], population.splits["train"])
    return replace(
        task, splits={**task.splits, "train": train}, digest=of_many([task.digest, population.digest, "pooled"])
    )


def reweighted(task: Task, weights_N: np.ndarray) -> Task:
    """The task with its training examples' weights multiplied."""
    train = task.splits["train"]
    own_N = np.ones(len(train)) if train.weights is None else train.weights
    weighted = replace(train, weights=(own_N * weights_N).astype(np.float32))
    return replace(task, splits={**task.splits, "train": weighted}, digest=of_many([task.digest, "weighted"]))


def trained(
    population: Task, task: Task, run: Run, options: Mapping[str, Any], progress: Progress, folder: Path
) -> None:
    """The network trained on the source's examples: unchanged, and fine-tuned on the target's."""
    probes = pretrained(progress)
    if not probes:
        return
    source = best(probes).source
    more = {"depths": "auto"} if task.modality == "text" else {}
    part = run.part("population", _SHARE_OF_SOURCE * run.remaining())
    try:
        there = made(source, population, "finetune", run=part, options={**options, **more})
    except BudgetError as error:
        progress.warn("budget", f"No network was trained on the source's examples: {error} Give a longer `budget`.")
        return
    progress.interrupted = there.interrupted
    name = f"{source.name} trained on the source's examples"
    known = find(save(replace(there.model, name=name), folder / "population"), trust_code=True)  # it was trusted then
    unchanged = made(known, task, "unchanged", run=run, options=dict(options_of_probes(options)))
    progress.candidates.append(replace(unchanged, learnt_from="source"))
    if progress.interrupted:
        return
    tuned = attempt(known, task, "finetune", run, _SHARE_OF_SOURCE * run.remaining(), dict(options), progress)
    if tuned is not None:
        progress.candidates[-1] = replace(tuned, learnt_from="both")


def options_of_probes(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the training's options that a head on frozen features has too."""
    return {name: options[name] for name in ("seed", "class_weights") if name in options}


def decide(progress: Progress) -> None:
    """Whether the source's examples help, by the validation split."""
    knowing = [c for c in progress.candidates if c.learnt_from != "target"]
    if not knowing:
        return
    a, b = best(knowing), best([c for c in progress.candidates if c.learnt_from == "target"])
    gap = difference(a.validation, b.validation, name=a.deciding)
    answer = "Yes." if gap["low"] > 0 else "No: they hurt." if gap["high"] < 0 else "Not proven."
    sentence = in_words(a.name, b.name, a.deciding, gap)
    progress.decide("Do the source's examples help?", f"{sentence} [validation]", answer)


def findings(everyone: Sequence[Candidate], assessments: Mapping[str, Assessment]) -> list[str]:
    """What each use of the source's examples was worth against the same method on the target's alone."""
    knowing = sorted((c for c in everyone if c.learnt_from != "target"), key=lambda c: c.score, reverse=True)
    alone = [c for c in everyone if c.learnt_from == "target"]
    said = []
    for candidate in knowing:
        rival = _rival(candidate, alone)
        metric = PRIMARY[assessments[candidate.name].kind]
        gap = difference(assessments[candidate.name], assessments[rival.name], name=metric)
        begin = "The source's examples help." if gap["low"] > 0 else "The source's examples are not proven to help."
        begin = "NEGATIVE TRANSFER from the source's examples." if gap["high"] < 0 else begin
        said.append(f"{begin} {in_words(candidate.name, rival.name, metric, gap)}")
    return said


def _rival(candidate: Candidate, alone: Sequence[Candidate]) -> Candidate:
    """The target-only candidate of the same source and method, else of the same method, else the best."""
    method = "finetune" if candidate.method == "finetune" else "probe"
    same = [c for c in alone if c.method == method]
    return best([c for c in same if c.source.name == candidate.source.name] or same or alone)
