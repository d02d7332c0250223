"""The trainings behind a distillation: the student under its teachers, and the same student alone for as many steps.

A training that has ended is kept beside the checkpoints, so that a killed run takes up the one in which it was killed.
"""

import contextlib
import json
import math
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from transfuse.core.digests import of_bytes, of_value
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.distilling.answers import computed_in
from transfuse.distilling.lessons import Owed, Pupil
from transfuse.distilling.preparing import Plan, answers_of, cycled, lessons_of, prepared
from transfuse.distilling.reusing import reused, reuses
from transfuse.distilling.weighing import weighing_of
from transfuse.sources.network import Network
from transfuse.training.loop import Moves
from transfuse.training.options import default_steps
from transfuse.tuning.moving import layerwise
from transfuse.tuning.outcome import HeadShape, Outcome
from transfuse.tuning.starting import start
from transfuse.tuning.targets import target_scale
from transfuse.tuning.tune import Tuned, tune, workbench
from transfuse.weights.files import read_whole, write_tensors

_DONE = "finished.safetensors"


def distilled(plan: Plan, run: Run) -> Outcome:
    """Train the student under its teachers."""
    weighing = weighing_of(plan.teaching.teacher_weights, plan.teachers, plan.task)
    ready = prepared(plan)
    count = len(ready.bench.train_inputs)
    fit = replace(plan.fit, steps=plan.fit.steps or default_steps(count, random=plan.random))
    passes = max(1, math.ceil(fit.steps * min(fit.batch_size, count) / count))
    answers, views = answers_of(plan, ready, fit, run)
    bench = cycled(ready.bench, views)
    student, builder, taps = started(plan, run), plan.student.builder, plan.taps
    if reuses(plan.wanted):
        made = reused(student, builder, ready.asked, bench.train_inputs, plan.wanted, taps)
        student, builder, taps = made.network, made.builder, made.taps
    with contextlib.ExitStack() as stack:
        lessons = lessons_of(plan, student, ready, taps, bench.train_inputs, stack)
        pupil = Pupil(student, lessons)
        owed = Owed(
            wanted=plan.wanted, bench=bench, teachers=plan.teachers, answers=answers, lessons=lessons,
            weighing=weighing, passes=passes,
        )  # fmt: skip
        moves = moving(plan, pupil, "student.body.")
        if reuses(plan.wanted):
            moves = without_head(moves)
        identity = {**_identity(plan, views), "moves": plain(moves), "fit": plain(fit)}
        found = resumed(student, identity, run)
        if found is None:
            objective = owed.objective()
            tuned = tune(pupil, bench, moves=moves, fit=fit, run=run, objective=objective, identity=identity)
            found = facts_of(tuned)
            keep(student, found, identity, run)
    known = {
        **found["facts"],
        "sum": str(plan.wanted),
        "views": views,
        "computed_in": "; ".join(filter(None, map(computed_in, ready.asked))) if views else "",
        "copied": [path for lesson in lessons for path in lesson.looking.copied],
        "pairs": [
            {"teacher_name": plan.teachers[lesson.members[0]].name, **plain(pair)}
            for lesson in lessons
            for pair in lesson.looking.pairs
        ],
    }
    return replace(as_outcome(plan, student, {**found, "facts": known}), builder=builder)


def alone(plan: Plan, steps: int, run: Run) -> Outcome:
    """Train the same student for as many steps on the labels alone, which see fresh views throughout."""
    bench, fit = workbench(plan.task, plan.student.preprocessing, plan.fit), replace(plan.fit, steps=steps)
    student = started(plan, run)
    moves = moving(plan, student, "body.")
    identity = {"student": plan.student.digest, "method": "alone", "scratch": plan.random}
    whole = {**identity, "task": plan.task.digest, "moves": plain(moves), "fit": plain(fit)}
    found = resumed(student, whole, run)
    if found is None:
        found = facts_of(tune(student, bench, moves=moves, fit=fit, run=run, identity=identity))
        keep(student, found, whole, run)
    return as_outcome(plan, student, found)


def started(plan: Plan, run: Run) -> Network:
    """The student before its training."""
    return start(plan.student, plan.task, head=HeadShape(), fit=plan.fit, run=run, pretrained=not plan.random).network


def moving(plan: Plan, network: Any, prefix: str) -> Moves:
    """All layers; those of a pretrained student slower towards its input, its batch norms as in `finetune` frozen."""
    new = plan.random or reuses(plan.wanted)  # a projector's norms know nothing yet
    moves = layerwise(
        network, decay=1.0 if plan.random else 0.8, batch_norm="adapt" if new else "frozen", prefix=prefix
    )
    return replace(moves, still=tuple(name for name in moves.still if name.startswith(prefix)))


def without_head(moves: Moves) -> Moves:
    """The same, but for a head that stays as it is."""
    groups = (replace(g, names=tuple(n for n in g.names if not n.startswith("student.head."))) for g in moves.groups)
    return replace(moves, groups=tuple(group for group in groups if group.names))


def as_outcome(plan: Plan, student: Network, found: Mapping[str, Any]) -> Outcome:
    """What a training gave."""
    return Outcome(
        network=student,
        builder=plan.student.builder,
        preprocessing=plan.student.preprocessing,
        temperature=found["temperature"],
        target_scale=target_scale(plan.task),
        curves=tuple(found["curves"]),
        facts=found["facts"],
        interrupted=found["facts"]["stopped_by"] == "interrupt",
        licence=plan.student.licence,
    )


def facts_of(tuned: Tuned) -> dict[str, Any]:
    """A training's record as plain values."""
    return {"temperature": tuned.temperature, "curves": list(tuned.trained.history), "facts": dict(tuned.facts)}


def _identity(plan: Plan, views: int) -> dict[str, Any]:
    """Everything that a training depends on, beside its length and its rates."""
    how = plan.teaching.teacher_weights
    return {
        "student": plan.student.digest,
        "teacher": [teacher.digest for teacher in plan.teachers],
        "sum": str(plan.wanted),
        "views": views,
        "taps": dict(plan.taps),
        "scratch": plan.random,
        "task": plan.task.digest,
        "weights": how if isinstance(how, str) else of_bytes(np.asarray(how, np.float32).tobytes()),
        "top": plan.teaching.top,
        "extra": list(plan.extra.digests) if plan.extra is not None else [],
        "heard": list(plan.heard["train"].digests) if plan.heard is not None else [],
    }


def keep(student: nn.Module, found: Mapping[str, Any], identity: Mapping[str, Any], run: Run) -> None:
    """Beside the checkpoints, what a training that has ended found."""
    if run.checkpoints and found["facts"]["stopped_by"] not in ("interrupt", "time"):
        metadata = {"fingerprint": of_value(identity), "found": json.dumps(plain(found))}
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in student.state_dict().items()}
        write_tensors(run.checkpoints / _DONE, tensors, metadata)


def resumed(student: nn.Module, identity: Mapping[str, Any], run: Run) -> dict[str, Any] | None:
    """What an ended training of exactly this found; its weights are loaded."""
    path = run.checkpoints / _DONE if run.checkpoints else Path()
    if not run.checkpoints or not path.exists():
        return None
    tensors, metadata = read_whole(path)
    if metadata.get("fingerprint") != of_value(identity):
        return None
    student.load_state_dict(tensors)
    found: dict[str, Any] = json.loads(metadata["found"])
    return found
