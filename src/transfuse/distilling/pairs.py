"""Examples of two kinds that belong together: the teacher hears the sound, the student sees the picture.

A table says so with a column for each (the student's is the task's own); or a folder holds files that are called as the
student's are, but for their endings. The teacher sees its example as it is: an augmented picture has the same sound.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from transfuse.core.errors import DataError
from transfuse.core.nouns import AnyPreprocessing, Examples, Modality, Task
from transfuse.sources.inputs import digests_of
from transfuse.tasks.images.decoding import SUFFIXES
from transfuse.tasks.images.path_tables import read_columns
from transfuse.tasks.listing import SOUNDS
from transfuse.tasks.opening import is_free_text
from transfuse.tasks.split_tables import TABLES, split_tables

_ENDINGS: Mapping[str, frozenset[str]] = {"image": SUFFIXES, "sound": SOUNDS, "text": frozenset({".txt"})}


def paired(data: str | Path, task: Task, modality: Modality, preprocessing: AnyPreprocessing) -> dict[str, Examples]:
    """Every split of the task, as a teacher of another modality takes it.

    Raises `DataError` for an example that has no partner, or several.
    """
    path = Path(data).expanduser()
    if not path.exists():
        raise DataError(f"`teacher_data` must be a folder or a table that exists, but there is no '{data}'.")
    if modality == "table" or task.modality == "table":
        raise DataError("`teacher_data` must pair pictures, sounds and texts; rows of a table belong to one table.")
    partners = _of_tables(path, task, modality) or _of_folder(path, modality)
    return {part: _heard(examples, partners, preprocessing, data) for part, examples in task.splits.items()}


def _heard(
    examples: Examples, partners: Mapping[str, Any], preprocessing: AnyPreprocessing, data: str | Path
) -> Examples:
    places = [_key(item, partners) for item in examples.items]
    lacking = [name for name, key in zip(examples.names, places, strict=True) if key is None]
    if lacking:
        raise DataError(
            f"Every example must have its partner in '{data}', but {len(lacking)} of {len(examples)} have none, such as"
            f" {lacking[0]}. Give a table with a column for each, or files that are called alike."
        )
    items = [partners[key] for key in places if key is not None]
    names = tuple(str(item) if isinstance(item, Path) else examples.names[p] for p, item in enumerate(items))
    return Examples(items=items, targets=examples.targets, digests=digests_of(items, preprocessing), names=names)


def _key(item: Any, partners: Mapping[str, Any]) -> str | None:
    """By which an example finds its partner: its path, the stem of its path, or its text."""
    keys = [str(Path(item).resolve()), Path(item).stem] if isinstance(item, Path) else [str(item)]
    return next((key for key in keys if key in partners), None)


def _of_tables(path: Path, task: Task, modality: Modality) -> dict[str, Any]:
    """From the cells of the student's column to those of the teacher's; empty where there are no tables."""
    tables = list(split_tables(path).values()) if path.is_dir() else [path] if path.suffix.lower() in TABLES else []
    found: dict[str, Any] = {}
    for table in tables:
        columns = read_columns(table)
        theirs = _column(columns, modality, table)
        mine = str(task.description.get("path_column") or task.description.get("text_column") or "")
        if mine not in columns:
            mine = _column({name: cells for name, cells in columns.items() if name != theirs}, task.modality, table)
        for left, right in zip(columns[mine], columns[theirs], strict=True):
            if left is None or right is None:
                continue
            key = str(left) if task.modality == "text" else str((table.parent / str(left)).resolve())
            partner = str(right) if modality == "text" else table.parent / str(right)
            if found.setdefault(key, partner) != partner:
                raise DataError(f"Every example must have one partner, but '{left}' in {table} has several.")
    return found


def _column(columns: Mapping[str, list[Any]], modality: Modality, table: Path) -> str:
    for name, cells in columns.items():
        texts = [cell for cell in cells if isinstance(cell, str)]
        paths = sum(Path(text[:1024]).suffix.lower() in _ENDINGS[modality] for text in texts)
        if texts and (is_free_text(texts) if modality == "text" else paths > len(texts) / 2):
            return name
    raise DataError(f"{table} must have a column of {modality}s, but none of {', '.join(columns)} looks like one.")


def _of_folder(path: Path, modality: Modality) -> dict[str, Any]:
    """Files by their names without endings."""
    if not path.is_dir():
        raise DataError(f"`teacher_data` must be a folder or a table ({', '.join(TABLES)}), but is '{path}'.")
    found: dict[str, Any] = {}
    for file in sorted(path.rglob("*")):
        if file.suffix.lower() in _ENDINGS[modality] and found.setdefault(file.stem, file) != file:
            raise DataError(f"Names must be given once, but '{file.stem}' are {found[file.stem]} and {file}.")
    return found
