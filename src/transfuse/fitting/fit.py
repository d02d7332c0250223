"""The main job: labelled data and pretrained models in, the best model with its proof out, within a budget.

Probe every source on cached features; fine-tune the best; train the same network from scratch, to know what transfer
bought; choose on the validation split; read the test split once.
"""

import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import transfuse
from transfuse.core.durations import seconds
from transfuse.core.errors import BudgetError, NotCached
from transfuse.core.nouns import DataWarning, Model, Source, Step, Task
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.fitting.candidates import Candidate, best, made
from transfuse.fitting.progress import Progress
from transfuse.fitting.refitting import refitted
from transfuse.fitting.report import evidence
from transfuse.sources.references import find
from transfuse.tasks.images import open_images
from transfuse.transferring.transfer import described

DEFAULT_SOURCES = ("timm:mobilenetv3_small_100", "builtin")
"""For pictures: a small network from the hub, and the one that comes with the package and needs no network."""
_SHARE_OF_BASELINE = 0.3
"""Share of the time left that the baseline from scratch may take from the fine-tuning."""


def fit(
    data: Any,
    *,
    sources: Sequence[Source | str] | None = None,
    budget: str | float = "10m",
    finetune: bool = True,
    baseline: bool = True,
    refit: bool = False,
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
        refit: Train the chosen model again on training and validation examples together.
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
    task = data if isinstance(data, Task) else open_images(data, seed=seed, run=run)
    progress = Progress()
    found = _told_apart(_found(sources, trust_code, progress))
    try:
        _probe(found, task, run, options, progress)
        if finetune:
            _train(task, run, options, progress, baseline=baseline)
    except KeyboardInterrupt:
        progress.interrupted = True
        if not progress.candidates:
            raise
    chosen = best(progress.candidates)
    if refit and not progress.interrupted:
        chosen = refitted(chosen, task, run, options)
    step = Step(
        verb="fit",
        method=chosen.method,
        options={
            "budget": limit, "finetune": finetune, "baseline": baseline, "refit": refit, "seed": seed, **plain(options)
        },
        inputs=(chosen.model.provenance, *(described(source) for source in found if source != chosen.source)),
        digests={"task": task.digest},
        seconds=round(time.monotonic() - started, 3),
        version=transfuse.__version__,
    )  # fmt: skip
    model = replace(chosen.model, name=name or f"{task.name} ({chosen.name})", provenance=step)
    return replace(model, **evidence(model, chosen, progress, task, command=command, budget=limit, run=run))


def _found(sources: Sequence[Source | str] | None, trust_code: bool, progress: Progress) -> Iterator[Source]:
    """The sources that can be had; one that cannot is a warning as long as another can."""
    references = list(sources) if sources else list(DEFAULT_SOURCES)
    if not sources:
        progress.notes.append(
            f"No source was given: the defaults for pictures were taken, {' and '.join(DEFAULT_SOURCES)}."
        )
    found, problems = 0, []
    for reference in references:
        try:
            yield reference if isinstance(reference, Source) else find(str(reference), trust_code=trust_code)
            found += 1
        except NotCached as error:
            problems.append(error)
            message = f"The source '{reference}' was left out: {error}"
            progress.warnings.append(DataWarning(code="source-left-out", message=message))
    if not found:
        raise problems[0]


def _told_apart(found: Iterable[Source]) -> list[Source]:
    """The sources, where two have one name the later ones with their reference or a number beside it."""
    named: dict[str, Source] = {}
    for source in found:
        names = itertools.chain(
            (source.name, f"{source.name} ({source.reference})"),
            (f"{source.name} ({number})" for number in itertools.count(2)),
        )
        name = next(name for name in names if name not in named)
        named[name] = replace(source, name=name)
    return list(named.values())


def _probe(found: Sequence[Source], task: Task, run: Run, options: Mapping[str, Any], progress: Progress) -> None:
    wanted = {name: value for name, value in options.items() if name in ("seed", "class_weights")}
    for place, source in enumerate(found):
        run.watch({"stage": "probing", "done": place, "total": len(found), "text": source.name})
        if progress.candidates and run.remaining() < 2 * max(c.seconds for c in progress.candidates):
            left = ", ".join(source.name for source in found[place:])
            message = f"The budget did not allow to probe {left}."
            progress.warnings.append(DataWarning(code="budget", message=message))
            return
        progress.candidates.append(made(source, task, "probe", run=run, options=wanted))
    if not progress.candidates:
        raise BudgetError("No source could be probed in the time given. Give a longer `budget`.")


def _train(task: Task, run: Run, options: dict[str, Any], progress: Progress, *, baseline: bool) -> None:
    probe = best(progress.by("probe"))
    time_left = run.remaining() - _reserve(task, progress)
    share = 1 - _SHARE_OF_BASELINE * baseline
    tuned = _attempt(probe.source, task, "finetune", run, time_left * share, options, progress)
    if tuned is None or tuned.interrupted or not baseline:
        progress.interrupted = tuned is not None and tuned.interrupted
        return
    same = {**options, "steps": tuned.facts["steps"]}
    time_left = run.remaining() - _reserve(task, progress)
    scratch = _attempt(probe.source, task, "scratch", run, time_left, same, progress)
    progress.interrupted = scratch is not None and scratch.interrupted


def _attempt(
    source: Source, task: Task, method: str, run: Run, allowed: float, options: dict[str, Any], progress: Progress
) -> Candidate | None:
    """A candidate, or None and a warning when the time does not allow it."""
    if allowed > 0:
        try:
            candidate = made(source, task, method, run=run.part("fit", allowed), options=options)
            progress.candidates.append(candidate)
            return candidate
        except BudgetError as error:
            reason = str(error)
    else:
        reason = "no time was left."
    message = f"{method} of {source.name} was not tried: {reason} Give a longer `budget`."
    progress.warnings.append(DataWarning(code="budget", message=message))
    return None


def _reserve(task: Task, progress: Progress) -> float:
    """Seconds to keep for reading the test split with every candidate that there may be, and for the report."""
    slowest = max(candidate.seconds_an_example for candidate in progress.candidates)
    return 2.0 + (len(progress.candidates) + 2) * slowest * len(task.splits.get("test", task.splits["valid"]))
