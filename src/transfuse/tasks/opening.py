"""The door to labelled data of any modality: recognises what they are, says so, and calls the opener.

A folder of pictures, arrays of pixels and tables with a column of picture paths are pictures; class folders of `.txt`
and tables with one column of free text beside the target are texts; folders of sound files and tables with a column of
their paths are sounds; other tables, those with two of these among them, and SQL URLs are tables.
"""

import inspect
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from transfuse.core.errors import DataError, UsageError
from transfuse.core.nouns import DataWarning, Examples, Kind, Modality, Task
from transfuse.core.runs import Run
from transfuse.core.tables import chosen, resolve
from transfuse.tasks.images.decoding import SUFFIXES
from transfuse.tasks.listing import SOUNDS
from transfuse.tasks.saved_datasets import is_saved
from transfuse.tasks.split_tables import TABLES, split_tables

OPENERS: Mapping[str, str] = {
    "image": "transfuse.tasks.images.opening:open_images",
    "text": "transfuse.tasks.texts.opening:open_texts",
    "table": "transfuse.tasks.tables.opening:open_table",
    "sound": "transfuse.tasks.sounds.opening:open_sounds",
}
SPLIT_OPENERS: Mapping[str, str] = {
    "image": "transfuse.tasks.images.opening:open_split",
    "text": "transfuse.tasks.texts.opening:open_split",
    "table": "transfuse.tasks.tables.opening:open_split",
    "sound": "transfuse.tasks.sounds.opening:open_split",
}
_DATABASES = (".db", ".sqlite", ".sqlite3", ".duckdb")
_SQL = re.compile(r"^[a-z][a-z0-9+]*://", re.IGNORECASE)
_LOOKED_AT = 500
"""Files of a folder, or cells of a column, by which they are judged."""
_WORDS = 3.0
"""Mean number of words from which on distinct strings are free text."""
_DISTINCT = 0.5
"""Share of cells that differ from all before them, from which on strings are free text."""


def open_task(
    data: Any, modality: Modality | None = None, *, seed: int = 0, run: Run | None = None, **options: Any
) -> Task:
    """Open labelled data of any modality; `options` are those of the modality's opener (`OPENERS`).

    The modality is recognised unless it is given; `Task.description` says which and why. A Task is returned as it is.
    Raises `DataError` when nothing can be learnt, `UnknownName` for a modality that does not exist.
    """
    if isinstance(data, Task):
        return data
    found, why = (modality, "as given") if modality else recognised(data, options.get("target"))
    options = {name: value for name, value in options.items() if value is not None}
    opener = resolve(OPENERS, found, "modality")
    try:
        task: Task = opener(data, seed=seed, run=run, **options)
    except TypeError as error:
        if "unexpected keyword" not in str(error):
            raise
        option = str(error).rpartition("argument ")[2].partition(".")[0].split(" ")[0]
        raise UsageError(f"The data are opened as {found} ({why}), which have no option {option}.") from None
    return replace(task, description={**task.description, "modality": f"{found}: {why}"})


def open_split(
    data: Any,
    *,
    modality: Modality,
    classes: Sequence[str],
    kind: Kind,
    split: str = "test",
    run: Run | None = None,
    **options: Any,
) -> tuple[Examples, tuple[DataWarning, ...]]:
    """Labelled examples for a model that knows `classes`: see the modality's own `open_split`."""
    if isinstance(data, Task) and data.modality != modality:
        raise DataError(f"The model takes {_CALLED[modality]}, but the data are {_CALLED[data.modality]}.")
    opener = resolve(SPLIT_OPENERS, modality, "modality")
    wrong = next((name for name in options if name not in inspect.signature(opener).parameters), None)
    if wrong is not None:
        raise UsageError(f"The data are opened for a model of the modality {modality}, which have no option '{wrong}'.")
    found: tuple[Examples, tuple[DataWarning, ...]] = opener(
        data, classes=classes, kind=kind, split=split, run=run, **options
    )
    return found


def recognised(data: Any, target: str | Sequence[str] | None = None) -> tuple[Modality, str]:
    """The modality of the data, and why, in words. What cannot be told is taken for pictures, whose opener says why."""
    if isinstance(data, tuple):
        return _of_memory(data)
    if hasattr(data, "columns"):
        return "table", "a table in memory"
    if not isinstance(data, str | Path):
        return "image", "assumed"
    if _SQL.match(str(data)):
        return "table", "an SQL address"
    path = Path(data).expanduser()
    if path.is_dir():
        return _of_folder(path, target)
    suffix = path.suffix.lower()
    if suffix in _DATABASES:
        return "table", f"a database ({suffix})"
    return _of_table(path, target) if suffix in TABLES and path.is_file() else ("image", "assumed")


def _of_memory(data: tuple[Any, ...]) -> tuple[Modality, str]:
    first: Any = data[0] if data else None
    if hasattr(first, "columns") or isinstance(first, Mapping) or (isinstance(first, np.ndarray) and _is_rows(first)):
        return "table", "rows in memory"
    if isinstance(first, str | bytes) or not hasattr(first, "__iter__"):
        return "image", "assumed"
    items = list(islice(first, _LOOKED_AT))
    if items and all(isinstance(item, Mapping) for item in items):
        return "table", "rows in memory"
    if items and all(map(_is_sound, items)):
        return "sound", "sounds in memory"
    if items and all(isinstance(item, str) for item in items) and not _mostly_pictures(items):
        return "text", "strings in memory"
    return "image", "pictures in memory"


def _is_sound(item: Any) -> bool:
    """A path of a sound, or samples with their rate."""
    if isinstance(item, tuple):
        return len(item) == 2 and isinstance(item[0], np.ndarray) and isinstance(item[1], int)
    return isinstance(item, str | Path) and len(str(item)) < 1024 and Path(item).suffix.lower() in SOUNDS


def _is_rows(array: np.ndarray) -> bool:
    return array.ndim == 2 and array.dtype.kind in "uifb"


def _of_folder(folder: Path, target: str | Sequence[str] | None) -> tuple[Modality, str]:
    if is_saved(folder):
        return _of_saved(folder)
    if tables := split_tables(folder):
        modality, why = _of_table(tables["train"], target)
        return modality, f"{why} ({tables['train'].name})"
    names = [path.suffix.lower() for path in islice(folder.rglob("*"), 20 * _LOOKED_AT) if path.is_file()]
    texts, pictures = sum(name == ".txt" for name in names), sum(name in SUFFIXES for name in names)
    sounds = sum(name in SOUNDS for name in names)
    if sounds > max(texts, pictures):
        return "sound", f"a folder with {sounds} sounds"
    if texts > pictures:
        return "text", f"a folder with {texts} .txt files"
    return "image", f"a folder with {pictures} pictures"


def _of_saved(folder: Path) -> tuple[Modality, str]:
    from transfuse.tasks.saved_datasets import column_kinds

    kinds = column_kinds(folder)
    pictures = [name for name, kind in kinds.items() if kind == "Image"]
    if pictures or not any(kind == "string" for kind in kinds.values()):
        return "image", f"the column '{pictures[0]}' holds pictures" if pictures else "assumed"
    return "text", "a saved dataset with a column of strings"


def _of_table(path: Path, target: str | Sequence[str] | None) -> tuple[Modality, str]:
    from transfuse.tasks.images.coco import is_coco
    from transfuse.tasks.tables.reading import read_file

    if path.suffix.lower() == ".json" and is_coco(path):
        return "image", "a COCO file"
    columns = read_file(path).table.slice(0, _LOOKED_AT).to_pydict()
    targets = {target} if isinstance(target, str) else set(target or ())
    rest = {name: values[:_LOOKED_AT] for name, values in columns.items() if name not in targets}
    pictures = [name for name, values in rest.items() if _mostly_pictures(values)]
    sounds = [name for name, values in rest.items() if _mostly(values, SOUNDS)]
    texts = [name for name, values in rest.items() if is_free_text(values) and name not in (*pictures, *sounds)]
    said = {"paths of pictures": pictures, "paths of sounds": sounds, "free text": texts}
    held = [f"'{names[0]}' {what}" for what, names in said.items() if names]
    if len(held) > 1:
        return "table", f"the columns hold several kinds of data: {', '.join(held)}"
    if sounds:
        return "sound", f"the column '{sounds[0]}' holds paths of sounds" + _others(rest, targets, sounds)
    if pictures:
        return "image", f"the column '{pictures[0]}' holds paths of pictures" + _others(rest, targets, pictures)
    others = [name for name in rest if name not in texts]
    if len(texts) == 1 and len(others) <= (1 if not targets else 0) + _bookkeeping(others):
        return "text", f"the column '{texts[0]}' holds free text"
    return "table", f"{len(columns)} columns" + (f", of which {len(texts)} hold free text" if texts else "")


def _others(rest: Mapping[str, Sequence[Any]], targets: set[str], pictures: Sequence[str]) -> str:
    """Says which columns of numbers a task of files leaves aside; nothing where one of them may be the target."""
    names = [n for n, values in rest.items() if targets and n not in pictures and not _bookkeeping([n])]
    numbers = [name for name in names if _are_numbers(rest[name])]
    told = ", ".join(map(repr, numbers[:5]))
    return f"; --modality table learns from {told} as well" if numbers else ""


def _are_numbers(values: Sequence[Any]) -> bool:
    """Whether all cells that are there are numbers."""
    try:
        return len([float(value) for value in values if value is not None]) > 0
    except (TypeError, ValueError):
        return False


def _bookkeeping(names: Sequence[str]) -> int:
    """Columns that say how to use an example and not what it is."""
    return sum(name.lower() in ("split", "subset", "partition", "fold", "group", "weight", "id") for name in names)


def is_free_text(values: Sequence[Any]) -> bool:
    """Whether a column holds sentences: strings of several words that rarely repeat."""
    texts = [value for value in values if isinstance(value, str) and value.strip()]
    if len(texts) < max(1, 0.5 * sum(value is not None for value in values)):
        return False
    words = sum(len(text.split()) for text in texts) / len(texts)
    return words >= _WORDS and len(set(texts)) >= _DISTINCT * len(texts)


def _mostly_pictures(values: Sequence[Any]) -> bool:
    return _mostly(values, SUFFIXES)


def _mostly(values: Sequence[Any], suffixes: frozenset[str]) -> bool:
    texts = [value for value in values if isinstance(value, str) and len(value) < 1024]
    return sum(Path(text).suffix.lower() in suffixes for text in texts) > len(texts) / 2


_CALLED = {"image": "pictures", "text": "texts", "table": "tables", "sound": "sounds"}


def require_modality(task: Task, modality: Modality) -> None:
    """Raise `DataError` when a task is not of the modality that a source takes."""
    chosen("modality", modality, OPENERS)
    if task.modality != modality:
        raise DataError(
            f"The source takes {_CALLED[modality]}, but the data are {_CALLED[task.modality]}. Name another source, or"
            " open the data with another `modality`."
        )
