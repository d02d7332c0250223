"""Statistics of saved Models, computed on training examples when no files of them are given.

They lie in the hidden folder beside the result while the work lasts, so that a killed run takes them up; their names
say of which parent, examples and kind they are.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import transfuse
from transfuse.core import digests
from transfuse.core.nouns import Model, Task
from transfuse.core.runs import Run
from transfuse.evaluating.assessing import split_of
from transfuse.fusing.models import load_digest, require_alike
from transfuse.fusing.placing import require_new, workplace
from transfuse.fusing.recipes import Recipe
from transfuse.fusing.statistics.grams import gram_matrices
from transfuse.fusing.statistics.information import EXACT, fisher_information
from transfuse.fusing.weights.methods import METHODS
from transfuse.predicting.folder import DOCUMENT, load, read_document
from transfuse.tasks.joining import drawn
from transfuse.tasks.opening import open_task
from transfuse.weights.files import is_whole, write_tensors

EXAMPLES = 1024
"""Of the training split, drawn by its seed; all when there are fewer."""


def with_statistics(
    recipe: Recipe, on: Any, out: Path, *, trust_code: bool, replaced: bool, run: Run
) -> tuple[Recipe, Any]:
    """The recipe with a file for each parent, and the task opened; both as they are when files are given.

    Raises `UsageError`, `WeightsError` or `BudgetError`.
    """
    parts = recipe.parts
    if any(part.statistics for part in parts) or not all((Path(p.path) / DOCUMENT).is_file() for p in parts):
        return recipe, on
    require_new(out, replaced)
    require_alike({part.path: read_document(Path(part.path)) for part in parts})
    task = open_task(on, seed=0, run=run)
    folder = workplace(out) / "statistics"
    kind = METHODS[recipe.method].statistics
    files = {p: _file(kind, p, task, folder, trust_code, run) for p in dict.fromkeys(part.path for part in parts)}
    slices = tuple(
        replace(piece, parts=tuple(replace(part, statistics=str(files[part.path])) for part in piece.parts))
        for piece in recipe.slices
    )
    return replace(recipe, slices=slices, notes=(*recipe.notes, _told(kind, task))), task


def _file(kind: str, path: str, task: Task, folder: Path, trust_code: bool, run: Run) -> Path:
    name = digests.of_value([kind, load_digest(Path(path)), task.digest, EXAMPLES, transfuse.__version__])
    file = folder / f"{kind}-{name[:24]}.safetensors"
    if not is_whole(file):
        model = load(path, trust_code=trust_code)
        split_of(task, "train", model)
        write_tensors(file, statistics_of(kind, model, task, run=run), {"format": "pt"})
    return file


def statistics_of(kind: str, model: Model, task: Task, *, run: Run = Run()) -> dict[str, torch.Tensor]:
    """`fisher` or `gram` of a Model on the task's training examples."""
    items = drawn(task.splits["train"], task.seed, "statistics", EXAMPLES).items
    if kind == "gram":
        return gram_matrices(model, items, run=run)
    return fisher_information(model, items, seed=task.seed, run=run)


def _told(kind: str, task: Task) -> str:
    count = min(EXAMPLES, len(task.splits["train"]))
    if kind == "gram":
        return f"The Gram matrices of every linear layer's inputs were computed on {count} training examples."
    exact = len(task.classes) <= EXACT
    how = "its expectation over the answers summed up" if exact else "one answer of the network drawn for each"
    return f"The diagonal of the true Fisher information was computed on {count} training examples, {how}."
