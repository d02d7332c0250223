"""Examples without labels beside a task's, and a task made of nothing else.

The teachers teach all of them; a label's loss on them counts nothing. Copies of what validates or tests are left out,
so that nothing of these splits is learnt. Without any labels the teacher names the classes and the right answers: the
held-out splits then measure how far student and teacher agree, not how often either is right.

Letters: N examples, C classes.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from transfuse.core.errors import DataError
from transfuse.core.nouns import AnyPreprocessing, DataWarning, Examples, Task
from transfuse.core.provenance import plain
from transfuse.sources.inputs import decoded, digests_of, expanded
from transfuse.tasks.assembling import task_digest
from transfuse.tasks.splitting import split
from transfuse.tasks.tables.unlabelled import unlabelled_rows


def unlabelled(data: Any, task: Task, preprocessing: AnyPreprocessing) -> tuple[Examples, tuple[DataWarning, ...]]:
    """The readable examples of a folder, a table or a file, each once, without those that the task holds out.

    Raises `DataError` when none is left.
    """
    items, names, warnings = found(data, preprocessing, task)
    digests = digests_of(items, preprocessing)
    held = {digest for part, examples in task.splits.items() if part != "train" for digest in examples.digests}
    seen = held | set(task.splits["train"].digests)
    places: list[int] = []
    copies: list[int] = []
    for place, digest in enumerate(digests):
        copy = digest in (held if task.modality == "table" else seen)  # two people may fill in the same row
        (copies if copy else places).append(place)
        seen.add(digest)
    if copies:
        warnings = (
            *warnings,
            DataWarning(
                code="unlabelled-copies",
                message=f"{len(copies)} examples without labels are copies of others, or of the task's; left out.",
                places=tuple(names[place] for place in copies),
                severity="note",
            ),
        )
    if not places:
        raise DataError(f"'{data}' must hold examples that the task does not have yet, but holds none.")
    targets = np.zeros((len(places), *task.splits["train"].targets.shape[1:]), task.splits["train"].targets.dtype)
    return _examples(items, digests, names, places, targets), warnings


def found(
    data: Any, preprocessing: AnyPreprocessing, task: Task | None = None
) -> tuple[list[Any], list[str], tuple[DataWarning, ...]]:
    """Items that can be read, their names, and what cannot be read. Raises `DataError` for data that are not there."""
    if isinstance(data, str | Path) and not Path(data).expanduser().exists():
        raise DataError(f"The examples without labels must exist, but there is no '{data}'.")
    if task is not None and task.modality == "table":
        items: Sequence[Any] = list(unlabelled_rows(data, task)[0])
        return list(items), [f"row {place}" for place in range(len(items))], ()
    try:
        items = expanded(Path(data).expanduser() if isinstance(data, str | Path) else data, preprocessing)
    except DataError as problem:
        raise DataError(f"'{data}' must hold examples without labels, but: {problem}") from None
    names = [str(item) if isinstance(item, Path) else f"example {place}" for place, item in enumerate(items)]
    readable, broken = [], []
    for place, item in enumerate(items):
        try:
            decoded(item, preprocessing)
            readable.append(place)
        except DataError:
            broken.append(place)
    warnings = (
        DataWarning(
            code="unreadable",
            message=f"{len(broken)} examples without labels cannot be read.",
            places=tuple(names[place] for place in broken),
        ),
    )
    if not readable:
        raise DataError(f"'{data}' must hold examples, but none can be read.")
    return [items[p] for p in readable], [names[p] for p in readable], warnings if broken else ()


def appended(train: Examples, extra: Examples) -> Examples:
    """Both, the labelled ones first."""
    return replace(
        train,
        items=[*train.items, *extra.items],
        targets=np.concatenate([train.targets, extra.targets]),
        digests=(*train.digests, *extra.digests),
        names=(*train.names, *extra.names),
        weights=None,
        groups=None,
    )


def task_of(data: Any, like: Task, preprocessing: AnyPreprocessing, seed: int) -> Task:
    """A task of `like`'s kind and classes without any labels, split 60 : 20 : 20 by seed; its targets are zeros.

    Raises `DataError` for fewer than five examples.
    """
    items, names, warnings = found(data, preprocessing)
    digests = digests_of(items, preprocessing)
    first = {digest: place for place, digest in reversed(list(enumerate(digests)))}
    places = sorted(first.values())
    if len(places) < 5:
        raise DataError(f"'{data}' must hold at least five different examples to learn from, but holds {len(places)}.")
    keys = [digests[place] for place in places]
    parts = split((0.6, 0.2, 0.2), np.zeros(len(places), np.int64), "single-label", keys, seed)
    shape, kind = ((), np.int64) if like.kind == "single-label" else ((len(like.classes),), np.float32)
    splits = {}
    for number, part in enumerate(("train", "valid", "test")):
        mine = [place for place, where in zip(places, parts, strict=True) if where == number]
        splits[part] = _examples(items, digests, names, mine, np.zeros((len(mine), *shape), kind))
    said = {"columns": plain(preprocessing)} if like.modality == "table" else {}
    return with_targets(replace(like, splits=splits, seed=seed, warnings=warnings, description=said), {})


def with_targets(task: Task, targets: dict[str, np.ndarray]) -> Task:
    """The task with these targets."""
    splits = {
        part: replace(examples, targets=targets.get(part, examples.targets)) for part, examples in task.splits.items()
    }
    return replace(task, splits=splits, digest=task_digest(task.kind, task.classes, splits))


def _examples(
    items: Sequence[Any], digests: Sequence[str], names: Sequence[str], places: Sequence[int], targets: np.ndarray
) -> Examples:
    return Examples(
        items=[items[place] for place in places],
        targets=targets,
        digests=tuple(digests[place] for place in places),
        names=tuple(names[place] for place in places),
    )
