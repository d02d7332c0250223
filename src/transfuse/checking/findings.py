"""Problems of single examples, as values: what it is, where, how sure, and what might be done."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from transfuse.checking.copies import Copies
from transfuse.checking.judging import Answers
from transfuse.checking.labels import written
from transfuse.checking.poisoned import Poison
from transfuse.checking.seeing import Everything
from transfuse.checking.wrong_labels import Suspects
from transfuse.core.nouns import Task

PROBLEMS = {
    "contradiction": "the same example with different labels",
    "copy-across-splits": "the same example in different splits: figures flatter",
    "near-copy-across-splits": "looks or reads the same in different splits: figures may flatter",
    "wrong-label": "the label is likely wrong",
    "repeated-patch": "the same patch in several pictures of one class, as a planted trigger would be",
    "copy": "the same example twice in one split",
    "near-copy": "looks or reads the same in one split",
    "one-colour": "a picture of one single colour",
    "silent": "a sound without anything to hear",
    "damaged-text": "characters of a wrong encoding, or NUL characters",
    "repeated-number": "one number stands for many examples, as a missing value would",
}
"""What each problem is, most harmful first."""
_TOLD = {"wrong-encoding": "damaged-text", "nul-characters": "damaged-text", "silent": "silent"}
"""Warnings of a task that name single examples, and the problem that each is."""
_REPEATED, _DISTINCT = 0.05, 20
"""Share of examples with one number from which it is suspicious, where at least so many numbers occur."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One problem of one example."""

    place: int
    """Among the examples of all splits."""
    problem: str
    """A key of `PROBLEMS`."""
    given: str
    suggested: str = ""
    """A label, where one is known."""
    score: float | None = None
    """0..1, how sure; None where nothing was estimated."""
    keep: str = "yes"
    """What is proposed: `yes`, `no` (remove) or `relabel`."""
    about: str = ""


def findings(
    task: Task,
    every: Everything,
    twins: Copies,
    answers: Answers | None,
    wrong: Suspects | None,
    poison: Poison | None = None,
) -> list[Finding]:
    """All findings, most harmful problems first, within a problem the surest first."""
    found = [*_copied(task, every, twins), *_contents(task, every, twins)]
    if answers is not None and wrong is not None:
        found += _mislabelled(task, every, answers, wrong)
    if poison is not None:
        found += _planted(task, every, poison)
    order = list(PROBLEMS)
    return sorted(found, key=lambda f: (order.index(f.problem), -(f.score or 0.0), f.place))


def _planted(task: Task, every: Everything, poison: Poison) -> Iterator[Finding]:
    """Nothing is proposed to be removed: a sign is no proof."""
    for patch in poison.patches:
        share = round(len(patch.places) / max(1, int((every.examples.targets == patch.label).sum())), 4)
        about = f"{len(patch.places)} pictures have one patch at {patch.left:.0%} from the left, {patch.upper:.0%} from"
        for place in patch.places:
            yield Finding(
                place=place, problem="repeated-patch", given=_label(task, every, place), score=1 - share,
                about=f"{about} the top",
            )  # fmt: skip


def _copied(task: Task, every: Everything, twins: Copies) -> Iterator[Finding]:
    for near, pairs in ((False, twins.exact), (True, twins.near)):
        for first, second in pairs.tolist():
            if not near and np.any(every.examples.targets[first] != every.examples.targets[second]):
                yield _copy(task, every, first, second, "contradiction", "yes")
                yield _copy(task, every, second, first, "contradiction", "yes")
                continue
            across = every.splits_N[first] != every.splits_N[second]
            problem = ("near-copy" if near else "copy") + ("-across-splits" if across else "")
            # of two copies the one that is learnt from can be spared: the held-out one must stay what it was
            gone, stays = (first, second) if across and every.splits_N[first] == "train" else (second, first)
            yield _copy(task, every, gone, stays, problem, "yes" if near else "no")


def _copy(task: Task, every: Everything, place: int, other: int, problem: str, keep: str) -> Finding:
    label = _label(task, every, other)
    about = f"like {every.examples.names[other]} ({every.splits_N[other]}, {label})"
    return Finding(place=place, problem=problem, given=_label(task, every, place), keep=keep, about=about)


def _contents(task: Task, every: Everything, twins: Copies) -> Iterator[Finding]:
    for place in twins.plain.tolist():
        yield Finding(place=place, problem="one-colour", given=_label(task, every, place))
    where = {name: place for place, name in enumerate(every.examples.names)}
    for warning in task.warnings:
        if warning.code in _TOLD:
            for place in (where[name] for name in warning.places if name in where):
                keep = "no" if warning.code == "silent" else "yes"
                yield Finding(place=place, problem=_TOLD[warning.code], given=_label(task, every, place), keep=keep)
    if task.kind == "regression":
        yield from _repeated(task, every)


def _repeated(task: Task, every: Everything) -> Iterator[Finding]:
    for column, values_N in zip(task.classes, every.examples.targets.T, strict=True):
        numbers, counts = np.unique(values_N, return_counts=True)
        most = int(counts.argmax())
        usual = float(np.median(counts))
        if len(numbers) >= _DISTINCT and counts[most] >= max(_REPEATED * len(values_N), 10 * usual):
            about = f"{counts[most]} of {len(values_N)} have {numbers[most]:g} in '{column}'"
            for place in np.flatnonzero(values_N == numbers[most]).tolist():
                yield Finding(place=place, problem="repeated-number", given=_label(task, every, place), about=about)


def _mislabelled(task: Task, every: Everything, answers: Answers, wrong: Suspects) -> Iterator[Finding]:
    """One finding an example, with all its suspicious classes or numbers changed."""
    changes: dict[int, list[int]] = {}
    scores: dict[int, float] = {}
    for row, column, score in zip(
        wrong.rows_M.tolist(), wrong.columns_M.tolist(), wrong.scores_M.tolist(), strict=True
    ):
        changes.setdefault(row, []).append(column)
        scores.setdefault(row, score)
    for row, columns in changes.items():
        suggested = _suggested(task, every.examples.targets[row], answers.outputs_NC[row], columns)
        yield Finding(
            place=row,
            problem="wrong-label",
            given=_label(task, every, row),
            suggested=written(task.kind, task.classes, suggested),
            score=scores[row],
        )


def _suggested(task: Task, target: np.ndarray, outputs_C: np.ndarray, columns: list[int]) -> np.ndarray:
    if task.kind == "single-label":
        return np.asarray(outputs_C.argmax())
    changed = np.array(target, copy=True)
    changed[columns] = 1 - changed[columns] if task.kind == "multi-label" else outputs_C[columns]
    return changed


def _label(task: Task, every: Everything, place: int) -> str:
    return written(task.kind, task.classes, every.examples.targets[place])
