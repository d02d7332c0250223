"""Columns of a table whose cells are paths of pictures or sounds: which can be read, what they hold; missing texts.

A cell whose file cannot be read is taken as missing and named. Letters: N rows.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from transfuse.core import digests
from transfuse.core.errors import DataError
from transfuse.core.nouns import DataWarning
from transfuse.tasks.images.decoding import opened
from transfuse.tasks.images.loading import default_workers
from transfuse.tasks.tables.reading import Read
from transfuse.tasks.tables.roles import Guess

_SMALL = 16  # pixels a side are enough to know that a picture can be decoded


def with_pictures(read: Read, guesses: Mapping[str, Guess]) -> tuple[Read, pa.Table, tuple[DataWarning, ...]]:
    """The table without paths that cannot be read, and one with digests of the files in their place; warnings.

    Raises `DataError` when a column has no picture or sound that can be read.
    """
    by_contents = read.table
    notes: list[DataWarning] = []
    for name, noun in ((name, guess.role) for name, guess in guesses.items() if guess.role in _LOOKS):
        place = read.table.column_names.index(name)
        cells = [None if cell is None else str(cell) for cell in read.table.column(place).to_pylist()]
        found, problems = _read(cells, read.folder, _LOOKS[noun])
        if not any(found.values()):
            first = next(iter(problems.values()), "all cells are missing.")
            raise DataError(f"Column '{name}' must hold paths of {noun}s, but none can be read. The first: {first}")
        kept = [cell if cell and found[cell] else None for cell in cells]
        contents = [cell and found[cell] for cell in kept]
        read = replace(read, table=read.table.set_column(place, name, pa.array(kept, pa.string())))
        by_contents = by_contents.set_column(place, name, pa.array(contents, pa.string()))
        notes += _said(name, cells, kept, problems, noun)
    notes += [
        note
        for name in (name for name, guess in guesses.items() if guess.role == "text")
        for note in _empty(name, read.table.column(name).to_pylist(), "text")
    ]
    return read, by_contents, tuple(notes)


def _read(
    cells: list[str | None], folder: Path | None, look: Callable[[Path], tuple[str, str]]
) -> tuple[dict[str, str], dict[str, str]]:
    """Digest of each file by its path, empty where it cannot be read; and why not."""
    paths = list(dict.fromkeys(cell for cell in cells if cell))
    with ThreadPoolExecutor(default_workers(), "reading") as pool:
        looks = list(pool.map(lambda path: look(Path(folder or "", path)), paths))
    found = {path: digest for path, (digest, _) in zip(paths, looks, strict=True)}
    return found, {path: why for path, (_, why) in zip(paths, looks, strict=True) if why}


def _picture(path: Path) -> tuple[str, str]:
    """Digest of a picture's file; or nothing, and why it cannot be read."""
    try:
        opened(path, 3, _SMALL)
        return digests.of_file(path), ""
    except (DataError, OSError) as problem:
        return "", str(problem)


def _sound(path: Path) -> tuple[str, str]:
    """Digest of a sound's file; or nothing, and why it cannot be read."""
    from transfuse.tasks.sounds import reading as sound_reading

    try:
        return sound_reading.looked(path)[0], ""
    except DataError as problem:
        return "", str(problem)


_LOOKS = {"picture": _picture, "sound": _sound}
"""How files are looked at, by the role of their column."""


def _said(
    name: str, cells: list[str | None], kept: list[str | None], problems: Mapping[str, str], noun: str
) -> list[DataWarning]:
    """Files that cannot be read, and cells without one."""
    notes: list[DataWarning] = []
    bad = [(row, cell) for row, cell in enumerate(cells) if cell in problems]
    if bad:
        places = tuple(f"row {row + 1}: {problems[str(cell)]}" for row, cell in bad)
        message = f"{len(bad)} {noun}(s) of the column '{name}' cannot be read and are taken as missing."
        notes.append(DataWarning(code="unreadable", message=message, places=places))
    return notes + _empty(name, kept, noun)


def _empty(name: str, cells: Sequence[object], noun: str) -> list[DataWarning]:
    """Cells without a picture, sound or text."""
    empty = tuple(f"row {row + 1}" for row, cell in enumerate(cells) if cell is None or not str(cell).strip())
    message = (
        f"{len(empty)} of {len(cells)} rows have no {noun} in '{name}'; a mark stands for it, and for the column's"
        " source the mean features of the others."
    )
    return [DataWarning(code=f"missing-{noun}s", message=message, places=empty, severity="note")] if empty else []
