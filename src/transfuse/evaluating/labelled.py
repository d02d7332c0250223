"""Labelled examples for a model: of a Task, or of data whose columns are called as where the model learnt."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from transfuse.core.errors import UnknownName
from transfuse.core.nouns import DataWarning, Examples, Model, Step, Task
from transfuse.core.runs import Run
from transfuse.evaluating.assessing import split_of
from transfuse.tasks.opening import open_split
from transfuse.tasks.split_tables import TABLES

_COLUMNS = {"image": ("target", "path_column"), "text": ("target", "text_column"), "table": ("target",)}


def labelled(
    model: Model, data: Any, split: str, options: Mapping[str, Any], run: Run
) -> tuple[Examples, tuple[DataWarning, ...]]:
    """A split of a Task, or data opened for the model with `options` (`target`, `text_column`, ...).

    Columns that are not named are those that the model learnt from, where the data have them, else guessed.
    """
    if isinstance(data, Task):
        return split_of(data, split, model), data.warnings
    options = {name: value for name, value in options.items() if value is not None}
    wanted: dict[str, Any] = {"modality": model.modality, "classes": model.classes, "kind": model.kind, "split": split}
    own = {**(_own_columns(model) if _has_columns(model, data) else {}), **options}
    try:
        return open_split(data, **wanted, run=run, **own)
    except UnknownName:
        if own == options:
            raise
        return open_split(data, **wanted, run=run, **options)


def _has_columns(model: Model, data: Any) -> bool:
    return model.modality == "table" or (isinstance(data, str | Path) and Path(data).suffix.lower() in TABLES)


def _own_columns(model: Model) -> dict[str, Any]:
    """Names of the columns of the table that the model learnt from, as its provenance has them."""
    known = next((step.options for step in _steps(model.provenance) if step.verb == "task"), {})
    return {name: known[name] for name in _COLUMNS[model.modality] if known.get(name) is not None}


def _steps(step: Step) -> Iterator[Step]:
    yield step
    for before in step.inputs:
        yield from _steps(before)
