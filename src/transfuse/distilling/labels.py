"""Which of a teacher's classes are which of the task's.

Equal names are matched by themselves; a map says the others, and may bring several of the teacher's classes into one.
The teacher's classes that are nobody's are left out: what counts is how its probability is divided among the shared
ones. Classes that it does not know are taught by labels alone, or by another teacher (Vongkulbhisal et al., "Unifying
Heterogeneous Classifiers with Distillation", arXiv 1904.06062: each teacher is the student's conditional distribution
over the classes that it knows).
"""

import csv
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from transfuse.core.errors import DataError, UsageError
from transfuse.core.tables import unknown

_FEWEST = 2  # classes that can be told apart


@dataclass(frozen=True, kw_only=True)
class Matched:
    """A teacher's classes among a task's."""

    known: tuple[int, ...]
    """Places of the shared classes among the task's, in their order (S)."""
    own: tuple[tuple[int, ...], ...]
    """For each of them the places among the teacher's own classes."""
    left_out: tuple[str, ...]
    """The teacher's classes that are nobody's."""
    lacking: tuple[str, ...]
    """The task's classes that it does not know."""
    renamed: tuple[tuple[str, str], ...] = ()
    """(teacher's, task's) where names differ."""

    @property
    def told(self) -> str:
        """What was matched, in words."""
        lines = [f"{len(self.known)} of {len(self.known) + len(self.lacking)} classes"]
        if self.renamed:
            more = "" if len(self.renamed) < 9 else f" and {len(self.renamed) - 8} more"
            lines.append("by the map " + ", ".join(f"{a} = {b}" for a, b in self.renamed[:8]) + more)
        if self.lacking:
            lines.append(f"it does not know {_some(self.lacking)}, taught without it")
        if self.left_out:
            lines.append(f"{len(self.left_out)} of its own are left out: {_some(self.left_out)}")
        return "; ".join(lines)


def matched(own: Sequence[str], classes: Sequence[str], given: Mapping[str, str], name: str) -> Matched:
    """The classes that a teacher called `name` shares with a task.

    Raises `UsageError` when fewer than two are shared, `UnknownName` for a task's class that does not exist.
    """
    for target in given.values():
        if target and target not in classes:
            raise unknown("class of the task", target, classes)
    becomes = {mine: given.get(mine, mine) for mine in own}
    places = {target: [p for p, mine in enumerate(own) if becomes[mine] == target] for target in classes}
    known = tuple(place for place, target in enumerate(classes) if places[target])
    if len(known) < min(_FEWEST, len(classes)):
        raise UsageError(
            f"A teacher must share at least {min(_FEWEST, len(classes))} classes with the task, but '{name}' shares"
            f" {len(known)}: it has {_some(own)}, and the task {_some(classes)}. Say which are the same: --label-map"
            " TEACHER=TASK."
        )
    return Matched(
        known=known,
        own=tuple(tuple(places[classes[place]]) for place in known),
        left_out=tuple(mine for mine in own if becomes[mine] not in classes),
        lacking=tuple(target for target in classes if not places[target]),
        renamed=tuple((mine, to) for mine, to in becomes.items() if to and to != mine and to in classes),
    )


def require_known(given: Mapping[str, str], own: Iterable[str]) -> None:
    """Raise `UnknownName` for a class in the map that no teacher has."""
    names = list(dict.fromkeys(own))
    wrong = next((name for name in given if name not in names), None)
    if wrong is not None:
        raise unknown("class of the teacher", wrong, names)


def read_map(texts: Sequence[str]) -> dict[str, str]:
    """`TEACHER=TASK` pairs, or one JSON or CSV file of them (columns teacher, task). Raises `UsageError`, `DataError`.

    >>> read_map(["wolf=dog", "poodle=dog"])
    {'wolf': 'dog', 'poodle': 'dog'}
    """
    found: dict[str, str] = {}
    for text in texts:
        name, separator, target = text.partition("=")
        if separator and name:
            found[name] = target
        elif Path(text).is_file():
            found |= _from_file(Path(text))
        else:
            raise UsageError(f"`label_map` must be TEACHER=TASK, or a JSON or CSV file that exists, but is '{text}'.")
    return found


def _from_file(path: Path) -> dict[str, str]:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix.lower() == ".json":
            document = json.loads(text)
            if not isinstance(document, dict) or not all(isinstance(value, str) for value in document.values()):
                raise ValueError("it must be one object of strings")
            return document
        rows = [row for row in csv.reader(text.splitlines()) if row]
        if any(len(row) != 2 for row in rows):
            raise ValueError("every row must be TEACHER,TASK")
    except (OSError, ValueError) as problem:
        raise DataError(f"The label map '{path}' cannot be read: {problem}.") from None
    headed = bool(rows) and [cell.strip().lower() for cell in rows[0]] == ["teacher", "task"]
    return {mine.strip(): to.strip() for mine, to in (rows[1:] if headed else rows)}


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
