"""From what a user gives to a plan: teachers, the student, and examples with labels, without, or of two kinds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np

from transfuse.core.checking import require_kinds
from transfuse.core.errors import DataError, UsageError
from transfuse.core.nouns import DataWarning, Examples, Model, Source, Task
from transfuse.core.runs import Run
from transfuse.core.tables import unknown
from transfuse.distilling.labels import read_map
from transfuse.distilling.pairs import paired
from transfuse.distilling.preparing import Plan
from transfuse.distilling.sums import Sum, require_losses, usual
from transfuse.distilling.teachers import AnyTeacher, Teacher, as_teacher, opened_model, opened_teachers
from transfuse.distilling.teaching import Teaching
from transfuse.distilling.unlabelled import task_of, unlabelled, with_targets
from transfuse.sources.references import find
from transfuse.sources.suiting import suited
from transfuse.tasks.opening import open_task, require_modality
from transfuse.training.options import Fit
from transfuse.tuning.targets import require_splits


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What a user gave."""

    teacher: AnyTeacher | Sequence[AnyTeacher]
    student: Source | str | Path
    data: Any
    teaching: Teaching
    fit: Fit
    trust_code: bool = False

    @property
    def teachers(self) -> list[AnyTeacher]:
        """As a list; none where the student teaches itself."""
        if self.teaching.require_teacher(self.teacher):
            return []
        return list(self.teacher) if isinstance(self.teacher, list | tuple) else [self.teacher]  # type: ignore


def planned(asking: Asking, given: Sum | None, views: int, taps: Mapping[str, str], scratch: bool, run: Run) -> Plan:
    """Everything opened and checked. Raises the errors of what it opens."""
    task, teachers = _task_and_teachers(asking, run)
    wanted = given or usual(task.kind, bool(asking.teaching.mutual))
    require_losses(wanted, task.kind)
    source = asking.student if isinstance(asking.student, Source) else find(
        str(asking.student), trust_code=asking.trust_code
    )  # fmt: skip
    source = suited(source, task)
    require_modality(task, source.modality)
    extra: Examples | None = None
    if asking.data is not None and asking.teaching.unlabelled is not None:
        extra, warnings = unlabelled(asking.teaching.unlabelled, task, source.preprocessing)
        task = replace(task, warnings=(*task.warnings, *warnings))
    heard = _heard(asking, task, teachers)
    if asking.data is None:
        wanted = replace(wanted, labels=0.0)
    if asking.teaching.top:
        require_top(asking.teaching.top, wanted, teachers)
    return Plan(
        student=source, task=task, teachers=teachers, wanted=wanted, fit=asking.fit, views=views, taps=taps,
        scratch=scratch, teaching=asking.teaching, extra=extra, heard=heard,
        label_free=asking.data is None,
    )  # fmt: skip


def options_from(options: Mapping[str, Any]) -> tuple[Fit, Teaching]:
    """The training and the teaching that flat options describe. Raises `UnknownName` and `UsageError`."""
    rest = dict(options)
    fit, teaching = rest.pop("fit", None), rest.pop("teaching", None)
    own = [field.name for field in fields(Teaching)]
    known = [*own, *(field.name for field in fields(Fit))]
    for option in rest:
        if option not in known:
            raise unknown("option of 'distill'", option, known)
    mine = {name: rest.pop(name) for name in own if name in rest}
    if isinstance(mine.get("label_map"), str | Path | list | tuple):
        given = mine["label_map"]
        mine["label_map"] = read_map([str(given)] if isinstance(given, str | Path) else given)
    if str(mine.get("teacher_weights", "")).endswith(".npy"):
        mine["teacher_weights"] = _array(Path(str(mine["teacher_weights"])))
    require_kinds({name: mine[name] for name in mine if name != "label_map"}, get_type_hints(Teaching))
    require_kinds(rest, get_type_hints(Fit))
    return fit or Fit(**rest), teaching or Teaching(**mine)


def _array(path: Path) -> np.ndarray:
    try:
        found: np.ndarray = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as problem:
        raise DataError(f"`teacher_weights` must be an array in '{path}', but it cannot be read: {problem}.") from None
    return found


def require_task(task: Task) -> None:
    """Raise when there is nothing to distil."""
    if task.kind == "single-label" and len(task.classes) < 2:
        raise DataError(f"There must be at least two classes to tell apart, but '{task.name}' has {len(task.classes)}.")
    require_splits(task)


def require_top(top: int, wanted: Sum, teachers: Sequence[Teacher]) -> None:
    """Raise `UsageError` where the largest answers alone would teach something else."""
    if any(teacher.kind != "single-label" for teacher in teachers):
        raise UsageError("`top` must go with classes that exclude each other.")
    fewest = min(len(teacher.matched.known) for teacher in teachers)
    if top >= fewest:
        raise UsageError(f"`top` must be below the {fewest} classes that a teacher answers for, but is {top}.")
    for term in wanted.terms:
        if term.name not in ("kd", "gkd", "dist", "ofa") or term.options.get("temperature", _T[term.name]) != 1:
            raise UsageError(
                f"`top` must go with losses at temperature 1, such as kd(temperature=1), but there is '{term}': at"
                " others the answers that were not kept hold most of the probability."
            )


_T = {"kd": 4.0, "gkd": 1.0, "dist": 1.0, "ofa": 1.0}


def _task_and_teachers(asking: Asking, run: Run) -> tuple[Task, tuple[Teacher, ...]]:
    teaching = asking.teaching
    if asking.data is None:
        return _label_free(asking, run)
    given = asking.data
    task = given if isinstance(given, Task) else open_task(given, seed=asking.fit.seed, run=run)
    require_task(task)
    if not asking.teachers:
        teaching.require_teacher(asking.teacher)
        if isinstance(asking.teacher, list | tuple):
            raise UsageError("`teacher` must be at least one Model or Source, but there is none.")
        return task, ()
    if teaching.teacher_data is None:
        return task, opened_teachers(asking.teachers, task, teaching.label_map, trust_code=asking.trust_code)
    if teaching.unlabelled is not None:
        raise UsageError("`unlabelled` must not go with `teacher_data`: examples without labels have no partners.")
    models = [opened_model(one, task, bool(teaching.label_map), asking.trust_code) for one in asking.teachers]
    return task, _of_others(models, task, teaching.label_map)


def _of_others(models: Sequence[Model], task: Task, label_map: Mapping[str, str]) -> tuple[Teacher, ...]:
    """Teachers of another modality than the task's."""
    return tuple(as_teacher(model, replace(task, modality=model.modality), label_map) for model in models)


def _heard(asking: Asking, task: Task, teachers: Sequence[Teacher]) -> dict[str, Examples] | None:
    if asking.teaching.teacher_data is None:
        return None
    kinds = {teacher.model.modality for teacher in teachers}
    if len(kinds) > 1:
        raise UsageError(f"`teacher_data` must be for teachers of one kind of data, but they take {sorted(kinds)}.")
    return paired(asking.teaching.teacher_data, task, kinds.pop(), teachers[0].preprocessing)


def _label_free(asking: Asking, run: Run) -> tuple[Task, tuple[Teacher, ...]]:
    """A task of examples without labels, whose right answers are the teachers' own."""
    teaching = asking.teaching
    if teaching.unlabelled is None or not asking.teachers:
        raise UsageError("`data` must be labelled examples, unless `unlabelled` ones are given with a teacher.")
    if teaching.teacher_data is not None:
        raise UsageError("`teacher_data` must go with labelled `data`: its partners are found by their examples.")
    first = asking.teachers[0]
    model = opened_model(first, _nothing(teaching), bool(teaching.label_map), asking.trust_code)
    names = dict.fromkeys(teaching.label_map.get(name, name) for name in model.classes)
    like = replace(
        _nothing(teaching), modality=model.modality, kind=model.kind, classes=tuple(name for name in names if name)
    )
    task = task_of(teaching.unlabelled, like, model.preprocessing, asking.fit.seed)
    others = [opened_model(one, task, bool(teaching.label_map), asking.trust_code) for one in asking.teachers[1:]]
    teachers = opened_teachers([model, *others], task, teaching.label_map)
    partial = next((teacher for teacher in teachers if not teacher.whole), None)
    if partial is not None:
        raise UsageError(
            f"Teachers without labels must know the same classes, but '{partial.name}' lacks"
            f" {', '.join(partial.matched.lacking[:4])}. Give labelled examples, or one teacher."
        )
    answers = {
        part: np.mean([teacher.probabilities(examples, task, run) for teacher in teachers], 0)
        for part, examples in task.splits.items()
    }
    task = with_targets(task, {part: _as_targets(found_NC, task) for part, found_NC in answers.items()})
    told = "There are no labels: the teacher's answers stand for them, so every figure is agreement with the teacher."
    task = replace(task, warnings=(*task.warnings, DataWarning(code="label-free", message=told)))
    require_task(task)
    return task, opened_teachers([model, *others], task, teaching.label_map)


def _as_targets(found_NC: np.ndarray, task: Task) -> np.ndarray:
    if task.kind == "single-label":
        return found_NC.argmax(1).astype(np.int64)
    return (found_NC >= 0.5).astype(np.float32) if task.kind == "multi-label" else found_NC.astype(np.float32)


def _nothing(teaching: Teaching) -> Task:
    """A task of no examples yet."""
    name = Path(str(teaching.unlabelled)).stem if isinstance(teaching.unlabelled, str | Path) else "unlabelled"
    return Task(name=name, kind="single-label", classes=(), splits={}, seed=0, digest="")
