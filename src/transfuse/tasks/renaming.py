"""A task's examples with the targets of another task: classes matched by name, the differences named.

Letters: N examples, C classes.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from transfuse.core.digests import of_many
from transfuse.core.errors import DataError
from transfuse.core.nouns import Examples, Task
from transfuse.tasks.joining import taken


def in_classes_of(other: Task, task: Task) -> tuple[Task, tuple[str, ...]]:
    """`other` with the classes of `task` in their order, and what differs: `-` only there, `+` only here, `~` respelt.

    Examples of classes that `task` does not have are left out. Labels of multi-label tasks and columns of numbers must
    all be there, for of those that are not nothing is known. Raises `DataError` when too little is shared.
    """
    if other.kind != task.kind:
        raise DataError(f"The source's examples must be {task.kind} as '{task.name}' is, but are {other.kind}.")
    if other.classes == task.classes:
        return other, ()
    places = places_of(other.classes, task.classes)
    shared = {place for place in places if place is not None}
    least = 2 if task.kind == "single-label" else len(task.classes)
    if len(shared) < least:
        raise DataError(
            f"The source's examples must share {'two classes' if least == 2 else 'all classes'} with the target's,"
            f" {_some(task.classes)}, but have {_some(other.classes)}."
        )
    splits = {name: _renamed(examples, places, len(task.classes)) for name, examples in other.splits.items()}
    if not all(len(examples) for examples in splits.values()):
        raise DataError("Every split of the source's examples must hold classes of the target's, but one does not.")
    digest = of_many([other.digest, *task.classes])
    return replace(other, classes=task.classes, splits=splits, digest=digest), _lines(other, task, places)


def places_of(theirs: Sequence[str], mine: Sequence[str]) -> list[int | None]:
    """For each of their names the place of mine: the same, or else the same but for case and punctuation; or None."""
    exact = {name: place for place, name in enumerate(mine)}
    loose = [_loose(name) for name in mine]
    once = {name: place for place, name in enumerate(loose) if loose.count(name) == 1}
    counted = Counter(_loose(name) for name in theirs)
    found = [exact.get(name, once.get(_loose(name)) if counted[_loose(name)] == 1 else None) for name in theirs]
    return found


def _renamed(examples: Examples, places: Sequence[int | None], classes: int) -> Examples:
    if examples.targets.ndim == 1:
        to = np.array([-1 if place is None else place for place in places])
        targets = to[examples.targets]
        return replace(taken(examples, np.flatnonzero(targets >= 0)), targets=targets[targets >= 0])
    order = [places.index(place) for place in range(classes)]
    return replace(examples, targets=examples.targets[:, order])


def _lines(other: Task, task: Task, places: Sequence[int | None]) -> tuple[str, ...]:
    lost = [name for name, place in zip(other.classes, places, strict=True) if place is None]
    new = [name for place, name in enumerate(task.classes) if place not in places]
    said = [f"- {name}: only the source has it, its examples are left out" for name in lost]
    said += [f"+ {name}: only the target has it" for name in new]
    for name, place in zip(other.classes, places, strict=True):
        if place is not None and name != task.classes[place]:
            said.append(f"~ {name}: called {task.classes[place]} here")
    return tuple(said)


def _loose(name: str) -> str:
    return "".join(letter for letter in name.casefold() if letter.isalnum()) or name


def _some(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
