"""The door of the room: teachers x Source x Task -> Model, with proof against the student alone."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import transfuse
from transfuse.core.checking import require_kinds
from transfuse.core.errors import BudgetError, DataError, UsageError
from transfuse.core.nouns import Model, Source, Step, Task
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.core.tables import unknown
from transfuse.distilling.report import evidence
from transfuse.distilling.students import Plan, alone, distilled
from transfuse.distilling.sums import parsed
from transfuse.distilling.teachers import AnyTeacher, opened_teacher
from transfuse.predicting.predict import confidences_of, probabilities
from transfuse.sources.references import find
from transfuse.sources.suiting import suited
from transfuse.tasks.opening import open_task, require_modality
from transfuse.training.options import Fit
from transfuse.tuning.outcome import Outcome
from transfuse.tuning.recording import as_model, described
from transfuse.tuning.targets import require_splits


def distill(
    teacher: AnyTeacher | Sequence[AnyTeacher],
    student: Source | str | Path,
    data: Any,
    *,
    method: str = "kd",
    views: int = 8,
    taps: Mapping[str, str] | None = None,
    scratch: bool = False,
    compare: bool = True,
    name: str | None = None,
    trust_code: bool = False,
    run: Run = Run(),
    command: str = "",
    **options: Any,
) -> Model:
    """Train a student to answer as its teacher does, and measure it against the student alone on the test split.

    Args:
        teacher: A saved Model (its folder, or the value), or a Source with a head of the task's classes; or several,
            which answer by the mean of their probabilities.
        student: A Source or a reference; `random:timm:NAME` starts from random weights.
        data: A Task, or whatever one can be opened from; single-label.
        method: A sum of losses such as `kd` or `kd + 0.5*at` (see `distilling.sums`).
        views: Augmented views of each example of which the teacher's answers are kept, and which the student sees in
            turn; 0 asks the teacher at every step, as losses on inner layers do anyway.
        taps: Student's module path to teacher's, for losses on inner layers; found by similarity unless given.
        scratch: Start from random weights although the student has others.
        compare: Train the student alone as well, for as many steps.
        name: Name of the model.
        trust_code: Allow networks that are built by the user's own function.
        run: Deadline, checkpoint folder, watcher.
        command: What repeats this, for the report.
        options: Of training (see `Fit`).

    Raises:
        UnknownName: A loss, an option or a module that does not exist.
        UsageError, DataError, SourceError, WeightsError: See their docstrings.
    """
    started = time.monotonic()
    wanted, fit = parsed(method), fit_from(options)
    if views < 0:
        raise UsageError(f"`views` must be at least 0, but is {views}.")
    task = data if isinstance(data, Task) else open_task(data, seed=fit.seed, run=run)
    require_task(task)
    source = student if isinstance(student, Source) else find(str(student), trust_code=trust_code)
    source = suited(source, task)
    require_modality(task, source.modality)
    plan = Plan(
        student=source, task=task, teacher=opened_teacher(teacher, task, trust_code=trust_code), wanted=wanted, fit=fit,
        views=views, taps=taps or {}, scratch=scratch,
    )  # fmt: skip
    half = run.remaining() / 2 if compare and run.deadline is not None else None
    outcome = distilled(plan, run.part("distilled", half))
    given = {"views": views, "taps": dict(plan.taps), "scratch": scratch, "fit": plain(fit)}
    step = _step(plan, method, given, outcome, time.monotonic() - started)
    model = as_model(outcome, task, step, name or f"{source.name} distilled from {plan.teacher.name}"[:200])
    valid_NC = probabilities(model, task.splits["valid"].items, run=run)
    model = replace(model, confidences=confidences_of(valid_NC, task.kind))
    other = _alone(plan, outcome, run) if compare and not outcome.interrupted else None
    return replace(model, **evidence(model, outcome, other, plan, run=run, command=command))


def fit_from(options: Mapping[str, Any]) -> Fit:
    """The training that flat options describe. Raises `UnknownName` and `UsageError`."""
    if "fit" in options:
        return options["fit"] or Fit()
    known = [field.name for field in fields(Fit)]
    for option in options:
        if option not in known:
            raise unknown("option of 'distill'", option, known)
    require_kinds(options, get_type_hints(Fit))
    return Fit(**options)


def require_task(task: Task) -> None:
    """Raise when there is nothing to distil."""
    if task.kind != "single-label":
        raise UsageError(
            f"`distill` must be given a single-label task, but '{task.name}' is {task.kind}. Use `transfer`."
        )
    if len(task.classes) < 2:
        raise DataError(f"There must be at least two classes to tell apart, but '{task.name}' has {len(task.classes)}.")
    require_splits(task)


def _alone(plan: Plan, outcome: Outcome, run: Run) -> Model | None:
    """The student alone; None when the time is up, which must not cost the student that is there."""
    facts = outcome.facts
    steps = facts["steps"] if facts["stopped_by"] in ("steps", "time") else facts["steps_wanted"]
    try:
        found = alone(plan, steps, run.part("alone"))
    except BudgetError:
        return None
    step = Step(verb="transfer", method="alone", options={"found": plain(found.facts)}, version=transfuse.__version__)
    return as_model(found, plan.task, step, f"{plan.student.name} alone")


def _step(plan: Plan, method: str, given: Mapping[str, Any], outcome: Outcome, seconds: float) -> Step:
    return Step(
        verb="distill",
        method=method,
        options={**given, "found": plain(outcome.facts)},
        inputs=(described(plan.student), *plan.teacher.steps, described(plan.task)),
        digests={"student": plan.student.digest, "teacher": plan.teacher.digest, "task": plan.task.digest},
        seconds=round(seconds, 3),
        version=transfuse.__version__,
    )
