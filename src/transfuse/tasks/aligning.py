"""Tasks about the same examples, split alike: what one task is tested on, no other may have learnt from."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from transfuse.core.errors import DataError
from transfuse.core.nouns import DataWarning, Task
from transfuse.tasks.assembling import task_digest
from transfuse.tasks.joining import concatenated, taken


def aligned(tasks: Sequence[Task]) -> list[Task]:
    """The tasks, where an example that an earlier one has too lies in the split, and at the place, that it has there.

    What was moved is told by a note. Raises `DataError` when a task is left without a split that it had.
    """
    places: dict[str, tuple[str, int]] = {}
    found: list[Task] = []
    for task in tasks:
        known = [name for examples in task.splits.values() for name in examples.digests if name in places]
        task = _aligned(task, places) if known else task
        found.append(task)
        for split, examples in task.splits.items():
            for digest in examples.digests:
                places.setdefault(digest, (split, len(places)))
    return found


def _aligned(task: Task, places: dict[str, tuple[str, int]]) -> Task:
    """The task with every example in its split; known ones first, in the order of the earlier task."""
    whole = concatenated(*task.splits.values())
    home = [split for split, examples in task.splits.items() for _ in range(len(examples))]
    wanted = [places.get(digest, (split, 0))[0] for digest, split in zip(whole.digests, home, strict=True)]
    wanted = [split if split in task.splits else "valid" for split in wanted]  # what others are tested on
    order = sorted(range(len(whole)), key=lambda place: places.get(whole.digests[place], ("", len(places)))[1])
    splits = {split: taken(whole, np.array([p for p in order if wanted[p] == split], int)) for split in task.splits}
    empty = next((split for split, examples in splits.items() if not len(examples)), None)
    if empty is not None:
        raise DataError(
            f"The '{empty}' split of '{task.name}' must keep examples that no other task has in another split, but all"
            " of them are. Split the data of all tasks alike, by files or by a column `split`."
        )
    moved = tuple(whole.names[p] for p in range(len(whole)) if wanted[p] != home[p])
    notes = (_note(task, moved),) if moved else ()
    digest = task_digest(task.kind, task.classes, splits)
    return replace(task, splits=splits, digest=digest, warnings=(*task.warnings, *notes))


def _note(task: Task, moved: tuple[str, ...]) -> DataWarning:
    message = (
        f"{len(moved)} examples of '{task.name}' lie in another split now: where another task has them too, for what"
        " one task is tested on, the trunk must not have learnt from."
    )
    return DataWarning(code="split-alike", message=message, places=moved, severity="note")
