"""The main job: labelled data and pretrained models in, the best model with its proof out, within a budget.

Rank and probe the sources on cached features, alone and together; fine-tune those that may win, shortly, and the winner
for longest; train the same network from scratch, to know what transfer bought; choose on the validation split, the
simplest model within noise of the best; read the test split once. Every fork is recorded with the numbers that decided.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import transfuse
from transfuse.core import atomic, tables
from transfuse.core.durations import seconds
from transfuse.core.errors import NotCached
from transfuse.core.nouns import DataWarning, Model, Source, Step, Task
from transfuse.core.places import cache_folder
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.fitting import populations
from transfuse.fitting import tables as table_fits
from transfuse.fitting.advice import advice
from transfuse.fitting.candidates import Candidate
from transfuse.fitting.choosing import chosen
from transfuse.fitting.probes import fuse, leading, probed, shortlisted
from transfuse.fitting.progress import Progress
from transfuse.fitting.refitting import refitted
from transfuse.fitting.report import evidence
from transfuse.fitting.trainings import train
from transfuse.fitting.unlabelled import require_unlabelled
from transfuse.predicting.guarding import guarded
from transfuse.predicting.predict import confidences_of
from transfuse.sources.references import find, told_apart
from transfuse.sources.sounds import suiting as sound_sources
from transfuse.sources.texts.words import counts_words
from transfuse.tasks.opening import open_task
from transfuse.tuning.recording import described

WORDS = "builtin:words"
DEFAULT_SOURCES: Mapping[str, tuple[str, ...]] = {
    "image": ("timm:mobilenetv3_small_100", "builtin"),
    "text": ("hf:sentence-transformers/all-MiniLM-L6-v2", WORDS),
    "table": ("table:columns", "table:network"),
    "sound": ("timm:mobilenetv3_small_100", "builtin"),
}
"""For pictures, and for sounds as pictures: a small network from the hub, and the one that comes with the package and
needs no network. For texts: a small sentence encoder from the hub, and the words themselves, which stand beside the
user's own sources too."""


def fit(
    data: Any,
    *,
    sources: Sequence[Source | str] | None = None,
    budget: str | float = "10m",
    finetune: bool = True,
    baseline: bool = True,
    refit: bool = False,
    search: int = 0,
    source_data: Any = None,
    unlabelled: str | Path | None = None,
    remember: bool = False,
    name: str | None = None,
    seed: int = 0,
    trust_code: bool = False,
    run: Run = Run(),
    command: str = "",
    options: Mapping[str, Any] | None = None,
) -> Model:
    """The best model for a task that the budget allows, with a report that proves it.

    Args:
        data: A Task, or whatever one can be opened from.
        sources: Sources or references; None takes the default of the modality, offline the built-in one.
        budget: Time for everything, such as `10m`.
        finetune: False stops after the probes, which takes seconds.
        baseline: Train the best source's network from scratch too, to measure what transfer bought.
        refit: Train the chosen model on, with the validation examples too.
        search: Trials of a search for the recipe of the fine-tuning (rate, schedule, optimiser, loss, head, ...); 0 for
            none beyond the learning rate.
        source_data: Labelled examples of another population, of which the report says whether and how they help.
        unlabelled: For tables: a file or a database of rows with the same columns, whose target is not read; the report
            says whether they help the network.
        remember: Keep, in a probe that is chosen, the sums that its head was made of, for `update` and `forget`.
        name: Name of the model.
        seed: Of splits, orders, augmentation and random weights.
        trust_code: Allow sources that are built by the user's own function.
        run: Checkpoint folder and watcher. Its deadline, if any, says when the time of `budget` ends.
        command: What repeats this, for the report.
        options: Of the fine-tuning, such as `{"steps": 300, "class_weights": "balanced"}` (see `Fit`).

    Raises:
        BudgetError: Not even one probe could be made in time.
        DataError, SourceError, UsageError: See their docstrings.
    """
    started = time.monotonic()
    limit = seconds(budget)
    if run.deadline is None:
        run = replace(run, deadline=started + limit)
    options = {"seed": seed, **(options or {})}
    frozen = {name: options[name] for name in ("seed", "class_weights") if name in options} | {"remember": remember}
    task = data if isinstance(data, Task) else open_task(data, seed=seed, run=run)
    require_unlabelled(unlabelled, task, network=finetune)
    progress = Progress()
    found = told_apart(sound_sources.suited(s, task) for s in _found(sources, task.modality, trust_code, progress))
    wanted: dict[str, Any] = {"finetune": finetune, "baseline": baseline, "search": search}
    beside = {"source_data": source_data, "unlabelled": unlabelled}
    with atomic.scratch(cache_folder() / "scratch") as kept:
        try:
            _tried(found, task, run, (options, frozen), progress, folder=kept, **wanted, **beside)
        except KeyboardInterrupt:
            progress.interrupted = True
            if not progress.candidates:
                raise
        taken, decision = chosen(progress.candidates)
        progress.decisions.append(decision)
        if not progress.interrupted and progress.by("probe"):
            progress.notes += advice(leading(progress), taken, task, seed=seed, run=run)
        before = taken
        if refit and not progress.interrupted:
            taken = refitted(taken, task, run, progress)
    settings = {**wanted, "budget": limit, "refit": refit, "remember": remember, "seed": seed, **plain(options)}
    settings |= {name: _called(given) for name, given in beside.items()}
    step = _recorded(taken, found, task, settings, started)
    # a refitted model has learnt from the validation split: what is ordinary is told by the one before it
    watched = before.model if progress.interrupted else guarded(before.model, task, run=run)
    confidences = confidences_of(before.validation.outputs_NC, task.kind)
    name = name or f"{task.name} ({taken.name})"
    model = replace(taken.model, name=name, provenance=step, confidences=confidences)
    model = replace(model, guard=None if progress.interrupted else watched.guard)
    return replace(model, **evidence(model, taken, progress, task, command=command, budget=limit, run=run))


def _called(given: Any) -> str | None:
    """Data beside the task's own, as the record names them."""
    if isinstance(given, Task):
        return given.name
    return None if given is None else str(given) if isinstance(given, str | Path) else "in memory"


def _recorded(taken: Candidate, found: Sequence[Source], task: Task, settings: dict[str, Any], started: float) -> Step:
    """What was done, with the sources that were not taken beside the one that was."""
    others = (described(source) for source in found if source != taken.source)
    return Step(
        verb="fit",
        method=taken.method,
        options=settings,
        inputs=(taken.model.provenance, *others),
        digests={"task": task.digest},
        seconds=round(time.monotonic() - started, 3),
        version=transfuse.__version__,
    )


def _tried(
    found: Sequence[Source],
    task: Task,
    run: Run,
    options: tuple[dict[str, Any], dict[str, Any]],
    progress: Progress,
    *,
    folder: Path,
    finetune: bool,
    source_data: Any,
    unlabelled: Any,
    **training: Any,
) -> None:
    """Candidates; `options` are those of the training and of the probes, `folder` keeps models of other populations."""
    if task.modality == "table":
        given = {"source_data": source_data, "unlabelled": unlabelled}
        table_fits.candidates(found, task, run, options[0], progress, network=finetune, folder=folder, **given)
        return
    population = None if source_data is None else populations.opened_population(source_data, task, run, progress)
    listed = shortlisted(found, task, run, progress, seed=options[0]["seed"])
    probed(listed, task, run, options[1], progress)
    fuse(task, run, options[0], progress)
    if population is not None:
        populations.frozen(population, task, run, populations.options_of_probes(options[1]), progress)
    if population is not None and finetune:
        populations.trained(population, task, run, options[0], progress, folder)
    if finetune and not progress.interrupted:
        train(task, run, options[0], progress, **training)
    if population is not None:
        populations.decide(progress)


def _found(
    sources: Sequence[Source | str] | None, modality: str, trust_code: bool, progress: Progress
) -> Iterator[Source]:
    """The sources that can be had; one that cannot is a warning as long as another can."""
    defaults = DEFAULT_SOURCES[tables.chosen("modality with default sources", modality, DEFAULT_SOURCES)]
    references = list(sources) if sources else list(defaults)
    if not sources:
        noun = {"image": "pictures"}.get(modality, f"{modality}s")
        progress.notes.append(f"No source was given: the defaults for {noun} were tried, {' and '.join(defaults)}.")
    words = [WORDS] if modality == "text" and not any(map(_are_words, references)) else []
    found, problems = 0, []
    for reference in [*references, *words]:
        try:
            yield reference if isinstance(reference, Source) else find(str(reference), trust_code=trust_code)
            found += reference in references
        except NotCached as error:
            problems.append(error)
            message = f"The source '{reference}' was left out: {error}"
            progress.warnings.append(DataWarning(code="source-left-out", message=message))
    if not found:
        raise problems[0]


def _are_words(reference: Source | str) -> bool:
    return counts_words(reference) if isinstance(reference, Source) else reference == WORDS
