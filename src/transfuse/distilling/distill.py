"""The door of the room: teachers x Source x Task -> Model, with proof against the student alone."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import transfuse
from transfuse.core.errors import BudgetError, UsageError
from transfuse.core.nouns import Model, Source, Step
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.distilling.opening import Asking, options_from, planned
from transfuse.distilling.preparing import Plan
from transfuse.distilling.repeating import Taught, alone_of, taught
from transfuse.distilling.report import evidence
from transfuse.distilling.sums import parsed
from transfuse.distilling.teachers import AnyTeacher
from transfuse.predicting.guarding import guarded
from transfuse.tuning.recording import as_model, described


def distill(
    teacher: AnyTeacher | Sequence[AnyTeacher],
    student: Source | str | Path,
    data: Any = None,
    *,
    method: str = "",
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
        teacher: A saved Model (its folder, or the value), a Source with a head of the task's classes, the URL of a
            server (`http://HOST/v2/models/NAME`), several of these, or `self`: earlier students, or peers.
        student: A Source or a reference; `random:timm:NAME` starts from random weights.
        data: A Task, or whatever one can be opened from. None: the examples of `unlabelled` alone, for which the
            teacher's answers stand as labels.
        method: A sum of losses such as `kd` (the default) or `kd + 0.5*at` (see `distilling.sums`).
        views: Augmented views of each example of which the teacher's answers are kept, and which the student sees in
            turn; 0 asks the teacher at every step, as losses on inner layers do anyway.
        taps: Student's module path to teacher's, for losses on inner layers; found by similarity unless given.
        scratch: Start from random weights although the student has others.
        compare: Train the student alone as well, for as many steps.
        name: Name of the model.
        trust_code: Allow networks that are built by the user's own function.
        run: Deadline, checkpoint folder, watcher.
        command: What repeats this, for the report.
        options: Of training (see `Fit`) and of teaching (see `Teaching`): label maps, examples without labels, the
            teacher's own data, weights of teachers, seeds, generations, students that learn together.

    Raises:
        UnknownName: A loss, an option, a class or a module that does not exist.
        UsageError, DataError, SourceError, WeightsError: See their docstrings.
    """
    started = time.monotonic()
    fit, teaching = options_from(options)
    wanted = parsed(method) if method else None
    if views < 0:
        raise UsageError(f"`views` must be at least 0, but is {views}.")
    asking = Asking(teacher=teacher, student=student, data=data, teaching=teaching, fit=fit, trust_code=trust_code)
    plan = planned(asking, wanted, views, taps or {}, scratch, run)
    half = run.remaining() / 2 if compare and run.deadline is not None else None
    found = taught(plan, run.part("distilled", half))
    step = _step(found, method, scratch, time.monotonic() - started)
    called = name or f"{plan.student.name} distilled from {found.plan.teacher_name or 'itself'}"[:200]
    model = as_model(found.outcome, plan.task, step, called)
    model = guarded(model, plan.task, run=run)
    other = _alone(plan, found, run) if compare and not found.outcome.interrupted else None
    return replace(model, **evidence(model, found, other, run=run, command=command))


def _alone(plan: Plan, found: Taught, run: Run) -> Model | None:
    """The student alone; None when the time is up, which must not cost the student that is there."""
    facts = found.outcome.facts
    steps = facts["steps"] if facts["stopped_by"] in ("steps", "time") else facts["steps_wanted"]
    seeds = [one.plan.fit.seed for one in found.everyone] or [plan.fit.seed]
    try:
        made = alone_of(plan, steps, seeds if not found.generations else [plan.fit.seed], run)
    except BudgetError:
        return None
    step = Step(verb="transfer", method="alone", options={"found": plain(made.facts)}, version=transfuse.__version__)
    return as_model(made, plan.task, step, f"{plan.student.name} alone")


def _step(found: Taught, method: str, scratch: bool, seconds: float) -> Step:
    plan, facts = found.plan, dict(found.outcome.facts)
    if found.generations:
        facts["generations"] = list(found.generations)
    if found.everyone:
        facts["seeds"] = [{"seed": one.plan.fit.seed, **one.outcome.facts["validation"]} for one in found.everyone]
    given = {"views": plan.views, "taps": dict(plan.taps), "scratch": scratch, "fit": plain(plan.fit)}
    teachers = {f"teacher {n}" if n else "teacher": one.digest for n, one in enumerate(plan.teachers)}
    return Step(
        verb="distill",
        method=method or "kd",
        options={**given, "teaching": _plain_teaching(plan), "found": plain(facts)},
        inputs=(described(plan.student), *(one.model.provenance for one in plan.teachers), described(plan.task)),
        digests={"student": plan.student.digest, **teachers, "task": plan.task.digest},
        seconds=round(seconds, 3),
        version=transfuse.__version__,
    )


def _plain_teaching(plan: Plan) -> dict[str, Any]:
    """As plain values; weights of every example would fill the document."""
    how = plan.teaching.teacher_weights
    found: dict[str, Any] = plain(replace(plan.teaching, teacher_weights="equal"))
    return {**found, "teacher_weights": how if isinstance(how, str) else "given for each example"}
