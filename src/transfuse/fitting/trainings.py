"""The part of `fit` that trains: sources that may win shortly, the winner for longest, and from scratch."""

import math
from collections.abc import Sequence
from typing import Any

from transfuse.core.errors import BudgetError, UsageError
from transfuse.core.nouns import Source, Task
from transfuse.core.runs import Run
from transfuse.fitting.candidates import Candidate, made
from transfuse.fitting.choosing import best, proven_worse
from transfuse.fitting.probes import pretrained
from transfuse.fitting.progress import Progress
from transfuse.fitting.recipes import searched
from transfuse.fitting.soups import souped
from transfuse.training.options import default_steps

_RIVALS = 3
"""Sources that are fine-tuned shortly, at most."""
_SHORT = 0.25
"""Share of the steps of a short fine-tuning."""
_SHARE_OF_RIVALS = 0.4
_SHARE_OF_SEARCH = 0.4
_SHARE_OF_BASELINE = 0.3
"""Shares of the time left that short fine-tunings, the search of a recipe, and scratch may take from the longest."""


def train(task: Task, run: Run, options: dict[str, Any], progress: Progress, *, baseline: bool, search: int) -> None:
    """Fine-tune within the time that is left; what was made goes into `progress`."""
    if not pretrained(progress):
        progress.notes.append("Nothing was trained: words that are counted have no weights that could move.")
        return
    source, found = _winner(task, run, options, progress)
    if progress.interrupted:
        return
    recipe = {**options, **found}
    if search:
        recipe.update(_recipe(source, task, run, recipe, progress, search))
    share = 1 - _SHARE_OF_BASELINE * baseline
    tuned = attempt(source, task, "finetune", run, _left(task, run, progress) * share, recipe, progress)
    if tuned is None or progress.interrupted:
        return
    if baseline:
        same = {name: value for name, value in options.items() if name not in _OF_SOURCES}
        same["steps"] = tuned.facts["steps"]
        attempt(source, task, "scratch", run, _left(task, run, progress), same, progress)
    _soup(source, task, progress)


_OF_SOURCES = ("layer_decay", "batch_norm", "interpolate")
"""Options that training from scratch has not."""


def attempt(
    source: Source,
    task: Task,
    method: str,
    run: Run,
    allowed: float,
    options: dict[str, Any],
    progress: Progress,
    label: str | None = None,
) -> Candidate | None:
    """A candidate, or None and a warning when the time does not allow it."""
    if task.modality == "text" and method == "finetune":
        options = {"depths": "auto", **options}  # a text's middle layers know what the last one has given up
    reason = "no time was left."
    if allowed > 0:
        try:
            candidate = made(source, task, method, run=run.part("fit", allowed), options=options, label=label)
            progress.candidates.append(candidate)
            progress.interrupted = candidate.interrupted
            return candidate
        except BudgetError as error:
            reason = str(error)
    progress.warn("budget", f"{label or method} of {source.name} was not tried: {reason} Give a longer `budget`.")
    return None


def _winner(task: Task, run: Run, options: dict[str, Any], progress: Progress) -> tuple[Source, dict[str, Any]]:
    """The source for the longest fine-tuning, with the rate that a short one found; those that may win compete."""
    probes = pretrained(progress)
    leader = best(probes)
    rivals = [probe for probe in probes if not proven_worse(probe, leader)][:_RIVALS]
    if len(probes) > 1:
        progress.decide(
            "Which sources may win when trained?",
            f"The best probe is {leader.source.name}'s; proven worse on validation: "
            f"{', '.join(p.source.name for p in probes if proven_worse(p, leader)) or 'none'}.",
            f"{', '.join(probe.source.name for probe in rivals)}.",
        )
    if len(rivals) < 2:
        return leader.source, {}
    short = _rounds(rivals, task, run, options, progress)
    if not short:
        return leader.source, {}
    won = best(short)
    scores = ", ".join(f"{c.source.name} {c.score[0]:.4f}" for c in sorted(short, key=lambda c: c.score, reverse=True))
    progress.decide(
        "Which source is trained longest?", f"Short fine-tunings: {scores} (validation).", f"{won.source.name}."
    )
    return won.source, {"rate": won.facts["rate"]} if "rate" not in options else {}


def _rounds(
    rivals: Sequence[Candidate], task: Task, run: Run, options: dict[str, Any], progress: Progress
) -> list[Candidate]:
    steps = options.get("steps") or default_steps(len(task.splits["train"]))
    allowed = _SHARE_OF_RIVALS * _left(task, run, progress) / len(rivals)
    wanted = {**options, "steps": max(1, math.ceil(_SHORT * steps))}
    made_: list[Candidate] = []
    for rival in rivals:
        if progress.interrupted:
            break
        candidate = attempt(rival.source, task, "finetune", run, allowed, wanted, progress, label="short finetune")
        made_ += [candidate] if candidate else []
    return made_


def _recipe(
    source: Source, task: Task, run: Run, options: dict[str, Any], progress: Progress, trials: int
) -> dict[str, Any]:
    allowed = _SHARE_OF_SEARCH * _left(task, run, progress)
    try:
        found = searched(source, task, run=run.part("search", allowed), options=options, trials=trials)
    except (BudgetError, UsageError) as error:
        progress.warn("budget", f"No recipe was searched: {error}")
        return {}
    words = ", ".join(f"{name} {value}" for name, value in found.best.options.items())
    ended = sum(attempt.outcome == "finished" for attempt in found.attempts)
    progress.decide(
        "Which recipe of fine-tuning?",
        f"{len(found.attempts)} trials ({ended} to their end), best validation {found.best.score:.4f}.",
        f"{words}.",
    )
    return dict(found.best.options)


def _soup(source: Source, task: Task, progress: Progress) -> None:
    trained = [c for c in progress.by("finetune") if c.source.digest == source.digest and not c.interrupted]
    if len(trained) < 2:
        return
    found = souped(trained, task)
    best_one = trained[0]
    if found is None:
        progress.decide("Is an average of trainings better?", f"{len(trained)} trainings of {source.name}.", "No.")
        return
    progress.candidates.append(found)
    progress.decide(
        "Is an average of trainings better?",
        f"Validation {found.score[0]:.4f} (loss {-found.score[1]:.4f}) against {best_one.score[0]:.4f} "
        f"(loss {-best_one.score[1]:.4f}) of the best one.",
        "Yes.",
    )


def _left(task: Task, run: Run, progress: Progress) -> float:
    """Seconds left but those for reading the test split with every candidate that there may be, and for the report."""
    slowest = max(candidate.seconds_an_example for candidate in progress.candidates)
    test = len(task.splits.get("test", task.splits["valid"]))
    return run.remaining() - 2.0 - (len(progress.candidates) + 2) * slowest * test
