"""A distillation as it was asked for, and its examples made ready for the student and for every teacher."""

import contextlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Examples, Source, Task
from transfuse.core.runs import Run
from transfuse.distilling.answers import Answers, Asked, kept, live
from transfuse.distilling.lessons import Lesson
from transfuse.distilling.observing import Observed, observed
from transfuse.distilling.sums import Sum
from transfuse.distilling.teachers import Teacher
from transfuse.distilling.teaching import Teaching
from transfuse.distilling.terms import INNER, POOLED, Sizes, Terms, needs, parted
from transfuse.distilling.unlabelled import appended
from transfuse.distilling.views import Cycled, inputs_for
from transfuse.sources.network import Network
from transfuse.tasks.images.augmenting import NONE
from transfuse.training.batches import Inputs
from transfuse.training.options import Fit
from transfuse.tuning.augmenting import chosen_augmentation
from transfuse.tuning.tune import Workbench, workbench


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A distillation that was asked for."""

    student: Source
    task: Task
    teachers: tuple[Teacher, ...]
    wanted: Sum
    fit: Fit
    views: int
    """K; 0 asks the teachers at every step."""
    taps: Mapping[str, str] = field(default_factory=dict)
    scratch: bool = False
    teaching: Teaching = field(default_factory=Teaching)
    extra: Examples | None = None
    """Without labels."""
    heard: Mapping[str, Examples] | None = None
    """The splits as the teachers take them, example by example, where that is another kind of data."""

    label_free: bool = False
    """Whether the teachers' answers stand for labels."""

    @property
    def random(self) -> bool:
        """Whether the student starts from random weights."""
        return self.scratch or self.student.weights is None

    @property
    def teacher_name(self) -> str:
        """Of the one, or of all."""
        return " + ".join(teacher.name for teacher in self.teachers)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """Examples for one training."""

    bench: Workbench
    """With the examples without labels behind the labelled ones; their targets are not read."""
    asked: tuple[Asked, ...]


def prepared(plan: Plan) -> Prepared:
    """The task for the student and for the teachers, in views of one key."""
    augmentation, _ = chosen_augmentation(plan.task, plan.student.preprocessing, plan.fit, None)
    bench = workbench(plan.task, plan.student.preprocessing, plan.fit)
    train = plan.task.splits["train"]
    if plan.extra is not None:
        train = appended(train, plan.extra)
        inputs = inputs_for(train, plan.student.preprocessing, augmentation, plan.fit.seed)
        bench = replace(bench, train_inputs=inputs, **_stretched(bench, len(plan.extra)))
    asked = []
    for teacher in plan.teachers:
        examples, change = (train, augmentation) if plan.heard is None else (plan.heard["train"], NONE)
        same = plan.heard is None and teacher.preprocessing == plan.student.preprocessing
        inputs = bench.train_inputs if same else inputs_for(examples, teacher.preprocessing, change, plan.fit.seed)
        asked.append(
            Asked(
                teacher=teacher, examples=examples, inputs=inputs, augmentation=change, fit=plan.fit,
                top=plan.teaching.top,
            )
        )  # fmt: skip
    return Prepared(bench=bench, asked=tuple(asked))


def _stretched(bench: Workbench, more: int) -> dict[str, Any]:
    """Targets and weights for as many examples more, which count nothing: the mean weight of all stays 1."""
    count = len(bench.weights_N)
    weights_N = np.concatenate([bench.weights_N * ((count + more) / count), np.zeros(more)]).astype(np.float32)
    return {"weights_N": weights_N, "targets": _padded(bench.targets, more)}


def _padded(targets: Tensor, more: int) -> Tensor:
    return torch.cat([targets, targets.new_zeros((more, *targets.shape[1:]))])


def answers_of(plan: Plan, ready: Prepared, fit: Fit, run: Run) -> tuple[list[Answers], int]:
    """What the teachers answer, and the views after which the student's examples repeat (0: they do not)."""
    inner = bool(needs(plan.wanted) & (INNER | POOLED))
    if plan.teaching.top and (plan.views == 0 or inner):
        raise UsageError("`top` must go with kept answers, but they are asked at every step. Leave `top` out.")
    if plan.views == 0 or inner:
        return [live(asked, same=asked.inputs is ready.bench.train_inputs) for asked in ready.asked], 0
    count = len(ready.bench.train_inputs)
    passes = max(1, math.ceil(fit.steps * min(fit.batch_size, count) / count))
    plain = plan.heard is not None or ready.asked[0].augmentation == NONE
    views = 1 if plain else min(plan.views, passes)
    parts = [run.part("teacher") for _ in ready.asked]
    found = [kept(asked, views, part) for asked, part in zip(ready.asked, parts, strict=True)]
    return found, 0 if plan.heard is not None else views


def cycled(bench: Workbench, views: int) -> Workbench:
    """The student sees the views that the answers are about."""
    return replace(bench, train_inputs=Cycled(bench.train_inputs, views)) if views else bench


def lessons_of(
    plan: Plan, student: Network, ready: Prepared, taps: Mapping[str, str], inputs: Inputs, stack: contextlib.ExitStack
) -> tuple[Lesson, ...]:
    """One lesson for one teacher; for several one on answers for those that know the same, one a teacher on layers."""
    everyone = tuple(range(len(plan.teachers)))
    if len(everyone) == 1:
        return (_lesson(plan, student, ready, everyone, plan.wanted, taps, inputs, stack),)
    on_answers, on_layers = parted(plan.wanted)
    groups: dict[tuple[int, ...], list[int]] = {}
    for m in everyone:
        groups.setdefault(plan.teachers[m].matched.known, []).append(m)
    wanted = [(tuple(group), on_answers) for group in groups.values()] + [((m,), on_layers) for m in everyone]
    return tuple(
        _lesson(plan, student, ready, members, terms, taps, inputs, stack) for members, terms in wanted if terms.terms
    )


def _lesson(
    plan: Plan, student: Network, ready: Prepared, members: Sequence[int], wanted: Sum, taps: Mapping[str, str],
    inputs: Inputs, stack: contextlib.ExitStack,
) -> Lesson:  # fmt: skip
    asked = ready.asked[members[0]]
    known = asked.teacher.matched.known
    looking = Observed(sizes=Sizes(classes=len(known), examples=len(inputs)))
    if needs(wanted) & (INNER | POOLED):
        looking = stack.enter_context(observed(student, asked, inputs, needs(wanted), taps))
    terms = Terms(wanted, looking.sizes, plan.fit.seed, plan.task.kind)
    return Lesson(members=tuple(members), known=known, terms=terms, looking=looking)
