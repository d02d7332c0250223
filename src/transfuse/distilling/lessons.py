"""A student under its teachers, in the one loop: student and learnt parts of the losses move together.

A lesson is what is owed to some teachers: to those that know the same classes, on answers, by the weighted mean of
their calibrated probabilities; to each of them by itself on inner layers. One teacher is one lesson. An example that a
lesson's teachers count w for moves the student w times as far: its gradient is scaled where losses take it, which is
the weighted sum for losses that are means over examples, and what comes nearest for those that compare examples.

Letters: B examples, L of them that a lesson is about, M teachers, S classes that they know, C classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transfuse.distilling.answers import Answers
from transfuse.distilling.observing import Observed
from transfuse.distilling.sums import Sum
from transfuse.distilling.teachers import Teacher
from transfuse.distilling.terms import Seen, Terms
from transfuse.distilling.weighing import Weighing
from transfuse.training.batches import Batch
from transfuse.training.loop import Objective
from transfuse.tuning.tune import Workbench

_STUDENT_S = ("maps", "features_BD")


@dataclass(frozen=True, kw_only=True)
class Lesson:
    """What a student owes to some of its teachers."""

    members: tuple[int, ...]
    """Which of the teachers."""
    known: tuple[int, ...]
    """Places of their classes among the task's."""
    terms: Terms
    looking: Observed


class Pupil(nn.Module):
    """A student, and the learnt parts of what it owes; answers as the student does."""

    def __init__(self, student: nn.Module, lessons: Sequence[Lesson]) -> None:
        super().__init__()
        self.student, self.terms = student, nn.ModuleList(lesson.terms for lesson in lessons)

    def forward(self, x: Tensor) -> Tensor:
        return self.student(x)


@dataclass(frozen=True, kw_only=True)
class Owed:
    """Everything that a student owes: to labels and to teachers."""

    wanted: Sum
    bench: Workbench
    teachers: Sequence[Teacher]
    answers: Sequence[Answers]
    lessons: Sequence[Lesson]
    weighing: Weighing
    passes: int
    """Of the whole training."""

    def objective(self) -> Objective:
        """Example weights are those of the labels' part."""

        def objective(network: nn.Module, batch: Batch) -> Tensor:
            logits_BC = network(batch.x)
            given = [answers(batch) for answers in self.answers]
            labels = self._labels(logits_BC, batch)
            with torch.autocast(logits_BC.device.type, enabled=False):
                weight_BM = self.weighing.weights(given, batch)
                return labels.float() + sum(
                    (self._lesson(lesson, logits_BC, given, weight_BM, batch) for lesson in self.lessons),
                    logits_BC.new_zeros((), dtype=torch.float32),
                )

        return objective

    def _labels(self, logits_BC: Tensor, batch: Batch) -> Tensor:
        if not self.wanted.labels:
            return logits_BC.new_zeros(())
        has_B = self.weighing.has_label(batch)
        if has_B.all():
            return self.wanted.labels * self.bench.weighted(logits_BC, batch)
        each_L = self.bench.loss(logits_BC[has_B], batch.y[has_B]) * batch.weights_B[has_B]
        return self.wanted.labels * each_L.sum() / len(batch.y)

    def _lesson(
        self, lesson: Lesson, logits_BC: Tensor, given: Sequence[Tensor], weight_BM: Tensor, batch: Batch
    ) -> Tensor:
        weight_B = weight_BM[:, list(lesson.members)].sum(1)
        about_B = weight_B > 0
        teachers = [self.teachers[m] for m in lesson.members]
        said_BS = mixed([given[m] for m in lesson.members], teachers, weight_BM[:, list(lesson.members)])
        places_B = batch.y
        if self.weighing.kind == "single-label":
            own_B = self.weighing.places(batch.y, lesson.members[0])
            places_B = torch.where(self.weighing.has_label(batch), own_B, said_BS.argmax(1))
        whole = len(lesson.known) == logits_BC.shape[1]
        seen = Seen(
            logits_BC=logits_BC if whole else logits_BC[:, list(lesson.known)],
            teacher_BC=said_BS,
            y_B=places_B,
            index_B=batch.index_B,
            share=float(batch.view_B.float().mean()) / self.passes,
            **_weighed(lesson.looking.read(), weight_B),
        )
        seen = replace(seen, logits_BC=counted(seen.logits_BC, weight_B))
        if about_B.all():
            return self._owed(lesson, seen)
        if not about_B.any():
            return logits_BC.new_zeros((), dtype=torch.float32)
        return self._owed(lesson, _of(seen, about_B)) * (int(about_B.sum()) / len(about_B))

    @staticmethod
    def _owed(lesson: Lesson, seen: Seen) -> Tensor:
        found: Tensor = lesson.terms(seen)
        return found


def mixed(answers: Sequence[Tensor], teachers: Sequence[Teacher], weight_BM: Tensor) -> Tensor:
    """What several say together (B, S): logits of the weighted mean of their calibrated probabilities, or its values.

    One alone: its logits as they are.
    """
    if len(answers) == 1:
        return answers[0]
    kind = teachers[0].kind
    total_B1 = weight_BM.sum(1, keepdim=True)
    share_MB1 = torch.where(total_B1 > 0, weight_BM / total_B1, 1 / len(answers)).T[:, :, None]
    if kind == "regression":
        return (torch.stack(list(answers)) * share_MB1).sum(0)
    scaled_MBS = torch.stack([z / t.model.temperature for z, t in zip(answers, teachers, strict=True)])
    share_MB1 = share_MB1.log()
    if kind == "single-label":
        return (F.log_softmax(scaled_MBS, 2) + share_MB1).logsumexp(0)
    yes_BS = (F.logsigmoid(scaled_MBS) + share_MB1).logsumexp(0)
    return yes_BS - (F.logsigmoid(-scaled_MBS) + share_MB1).logsumexp(0)


def counted(x: Tensor, weight_B: Tensor) -> Tensor:
    """The same numbers, of which each example passes `weight` times its gradient on."""
    if bool((weight_B == 1).all()):
        return x
    weight = weight_B.to(x.dtype).view(-1, *[1] * (x.ndim - 1))
    return weight * x + (1 - weight) * x.detach()


def _weighed(read: Mapping[str, Any], weight_B: Tensor) -> dict[str, Any]:
    found = dict(read)
    for name in _STUDENT_S:
        if isinstance(found.get(name), Tensor):
            found[name] = counted(found[name], weight_B)
        elif found.get(name):
            found[name] = [counted(part, weight_B) for part in found[name]]
    return found


def _of(seen: Seen, about_B: Tensor) -> Seen:
    """Only some of the examples."""

    def part(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value[about_B]
        return [part(each) for each in value] if isinstance(value, list | tuple) else value

    return Seen(**{name: part(value) for name, value in vars(seen).items()})
