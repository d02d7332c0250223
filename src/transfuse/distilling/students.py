"""The trainings behind a distillation: the student under its teacher, and the same student alone for as many steps.

A training that has ended is kept beside the checkpoints, so that a killed run takes up the one in which it was killed.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transfuse.core.digests import of_value
from transfuse.core.nouns import Source, Task
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.distilling.answers import Answers, Asked, kept, live
from transfuse.distilling.observing import observed
from transfuse.distilling.pupils import Pupil, owed
from transfuse.distilling.reusing import reused, reuses
from transfuse.distilling.sums import Sum
from transfuse.distilling.teachers import Teacher
from transfuse.distilling.terms import INNER, POOLED, Terms, needs
from transfuse.distilling.views import Cycled, inputs_for
from transfuse.sources.network import Network
from transfuse.tasks.images.augmenting import NONE
from transfuse.training.batches import Inputs
from transfuse.training.loop import Moves
from transfuse.training.options import Fit, default_steps
from transfuse.tuning.augmenting import chosen_augmentation
from transfuse.tuning.moving import layerwise
from transfuse.tuning.outcome import HeadShape, Outcome
from transfuse.tuning.starting import start
from transfuse.tuning.tune import Tuned, Workbench, tune, workbench
from transfuse.weights.files import read_metadata, read_tensors, write_tensors

_DONE = "finished.safetensors"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A distillation that was asked for."""

    student: Source
    task: Task
    teacher: Teacher
    wanted: Sum
    fit: Fit
    views: int
    """K; 0 asks the teacher at every step."""
    taps: Mapping[str, str]
    scratch: bool

    @property
    def random(self) -> bool:
        """Whether the student starts from random weights."""
        return self.scratch or self.student.weights is None


def distilled(plan: Plan, run: Run) -> Outcome:
    """Train the student under its teacher."""
    bench, asked, whole = _prepared(plan)
    fit = replace(plan.fit, steps=plan.fit.steps or default_steps(len(bench.train_inputs), random=plan.random))
    passes = max(1, math.ceil(fit.steps * min(fit.batch_size, len(bench.train_inputs)) / len(bench.train_inputs)))
    answers, views = _answers(plan, asked, bench, passes, run)
    bench = replace(bench, train_inputs=Cycled(whole, views) if views else whole)
    student, builder, taps = _started(plan, run), plan.student.builder, plan.taps
    if reuses(plan.wanted):
        made = reused(student, builder, asked, bench.train_inputs, plan.wanted, taps)
        student, builder, taps = made.network, made.builder, made.taps
    identity = {
        "student": plan.student.digest, "teacher": plan.teacher.digest, "sum": str(plan.wanted), "views": views,
        "taps": dict(plan.taps), "scratch": plan.random,
    }  # fmt: skip
    with observed(student, asked, bench.train_inputs, needs(plan.wanted), taps) as looking:
        pupil = Pupil(student, Terms(plan.wanted, looking.sizes, fit.seed))
        objective = owed(pupil, plan.wanted, bench, answers, looking, passes)
        moves = _moves(plan, pupil, "student.body.")
        if reuses(plan.wanted):
            moves = without_head(moves)
        identity = {**identity, "task": plan.task.digest, "moves": plain(moves), "fit": plain(fit)}
        found = _resumed(student, identity, run)
        if found is None:
            tuned = tune(pupil, bench, moves=moves, fit=fit, run=run, objective=objective, identity=identity)
            found = _facts(tuned)
            _keep(student, found, identity, run)
    known = {
        **found["facts"],
        "sum": str(plan.wanted),
        "views": views,
        "copied": list(looking.copied),
        "pairs": [plain(pair) for pair in looking.pairs],
    }
    return replace(_outcome(plan, student, {**found, "facts": known}), builder=builder)


def alone(plan: Plan, steps: int, run: Run) -> Outcome:
    """Train the same student for as many steps on the labels alone, which see fresh views throughout."""
    bench, fit = workbench(plan.task, plan.student.preprocessing, plan.fit), replace(plan.fit, steps=steps)
    student = _started(plan, run)
    moves = _moves(plan, student, "body.")
    identity = {"student": plan.student.digest, "method": "alone", "scratch": plan.random}
    found = _facts(tune(student, bench, moves=moves, fit=fit, run=run, identity=identity))
    return _outcome(plan, student, found)


def _prepared(plan: Plan) -> tuple[Workbench, Asked, Inputs]:
    """The task for the student and for the teacher, in views of one key."""
    augmentation, _ = chosen_augmentation(plan.task, plan.student.preprocessing, plan.fit, None)
    bench = workbench(plan.task, plan.student.preprocessing, plan.fit)
    same = plan.teacher.preprocessing == plan.student.preprocessing
    train = plan.task.splits["train"]
    theirs = bench.train_inputs if same else inputs_for(train, plan.teacher.preprocessing, augmentation, plan.fit.seed)
    asked = Asked(teacher=plan.teacher, task=plan.task, inputs=theirs, augmentation=augmentation, fit=plan.fit)
    return bench, asked, bench.train_inputs


def _answers(plan: Plan, asked: Asked, bench: Workbench, passes: int, run: Run) -> tuple[Answers, int]:
    """The teacher's answers, and the views after which they repeat (0: they do not)."""
    if plan.views == 0 or needs(plan.wanted) & (INNER | POOLED):
        return live(asked, same=asked.inputs is bench.train_inputs), 0
    views = 1 if asked.augmentation == NONE else min(plan.views, passes)
    return kept(asked, views, run), views


def _started(plan: Plan, run: Run) -> Network:
    return start(plan.student, plan.task, head=HeadShape(), fit=plan.fit, run=run, pretrained=not plan.random).network


def _moves(plan: Plan, network: Any, prefix: str) -> Moves:
    """All layers; those of a pretrained student slower towards its input, and batch norms always adapt."""
    return layerwise(network, decay=1.0 if plan.random else 0.8, batch_norm="adapt", prefix=prefix)


def without_head(moves: Moves) -> Moves:
    """The same, but for a head that stays as it is."""
    groups = (replace(g, names=tuple(n for n in g.names if not n.startswith("student.head."))) for g in moves.groups)
    return replace(moves, groups=tuple(group for group in groups if group.names))


def _outcome(plan: Plan, student: Network, found: Mapping[str, Any]) -> Outcome:
    return Outcome(
        network=student,
        builder=plan.student.builder,
        preprocessing=plan.student.preprocessing,
        temperature=found["temperature"],
        curves=tuple(found["curves"]),
        facts=found["facts"],
        interrupted=found["facts"]["stopped_by"] == "interrupt",
        licence=plan.student.licence,
    )


def _facts(tuned: Tuned) -> dict[str, Any]:
    return {"temperature": tuned.temperature, "curves": list(tuned.trained.history), "facts": dict(tuned.facts)}


def _keep(student: Network, found: Mapping[str, Any], identity: Mapping[str, Any], run: Run) -> None:
    if run.checkpoints and found["facts"]["stopped_by"] not in ("interrupt", "time"):
        metadata = {"fingerprint": of_value(identity), "found": json.dumps(plain(found))}
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in student.state_dict().items()}
        write_tensors(run.checkpoints / _DONE, tensors, metadata)


def _resumed(student: Network, identity: Mapping[str, Any], run: Run) -> dict[str, Any] | None:
    """What an ended training of exactly this found; its weights are loaded."""
    path = run.checkpoints / _DONE if run.checkpoints else Path()
    if not run.checkpoints or not path.exists():
        return None
    metadata = read_metadata(path)
    if metadata.get("fingerprint") != of_value(identity):
        return None
    student.load_state_dict(read_tensors(path))
    found: dict[str, Any] = json.loads(metadata["found"])
    return found
