"""Alignment as `fuse` sees it: checkpoints whose tensors are permuted, and what its report and record say."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import nn

from transfuse.core.digests import of_value
from transfuse.core.errors import UsageError
from transfuse.core.nouns import DataWarning, Report, Section, Task
from transfuse.core.runs import Run
from transfuse.core.tables import chosen
from transfuse.evaluating.assessing import split_of
from transfuse.fusing.alignment.aligning import WAYS, Alignment, aligned
from transfuse.fusing.alignment.barrier import Barrier
from transfuse.fusing.alignment.repairing import mended
from transfuse.fusing.checkpoints import Checkpoint
from transfuse.fusing.recipes import Recipe
from transfuse.fusing.weights.methods import METHODS
from transfuse.predicting.folder import load
from transfuse.tasks.opening import open_task
from transfuse.training.batch_statistics import batch_norms
from transfuse.weights.headers import Entry


def to_align(recipe: Recipe, align: str, on: Any, run: Run) -> tuple[Recipe, Task | None]:
    """The recipe that says so, and the examples opened, on which the orders depend."""
    chosen("way to align", align, WAYS)
    task = None if on is None else open_task(on, seed=0, run=run)
    return replace(recipe, align=align, aligned_on=task.digest if task is not None else None), task


def aligned_parents(
    recipe: Recipe, checkpoints: Mapping[str, Checkpoint], task: Task | None, *, trust_code: bool
) -> tuple[dict[str, Checkpoint], Alignment]:
    """The checkpoints in the order of units of the first. Raises `UsageError` and `WeightsError`."""
    _require_alignable(recipe, checkpoints)
    models = {path: load(path, trust_code=trust_code) for path in recipe.paths}
    if task is not None:
        split_of(task, "valid", models[recipe.paths[0]])
    alignment = aligned(models, recipe.align, task, seed=recipe.seed)
    found = {path: _permuted(checkpoint, alignment) for path, checkpoint in checkpoints.items()}
    return found, alignment


def _require_alignable(recipe: Recipe, checkpoints: Mapping[str, Checkpoint]) -> None:
    bare = [path for path, checkpoint in checkpoints.items() if checkpoint.document is None]
    if bare:
        raise UsageError(
            f"`align` must go with saved Models, whose networks are known, but '{bare[0]}' is bare weights."
            " Make a Model of it first, by `transfuse transfer ... --method unchanged`."
        )
    if recipe.base is not None and METHODS[recipe.method].based:
        raise UsageError(
            f"`align` must go without `base`, but '{recipe.method}' departs from one: fine-tunes of one network"
            " have its order of units already. Leave one of them out."
        )
    if len(recipe.slices) > 1 or any(part.layers for part in recipe.parts):
        raise UsageError("`align` must go with whole networks, but the recipe stacks slices of layers.")
    if any(part.statistics for part in recipe.parts):
        raise UsageError("`align` must go without `statistics`: these belong to the units as they stand in the files.")


def _permuted(checkpoint: Checkpoint, alignment: Alignment) -> Checkpoint:
    """Tensors that were permuted lie in memory; the others stay in their file."""
    path = str(checkpoint.path)
    names = {block.tensor for block in alignment.symmetry.blocks} if path in alignment.orders else set()
    entries = {
        name: Entry(name=name, dtype=entry.dtype, shape=entry.shape, tensor=_as_was(alignment, path, entry))
        if name in names
        else entry
        for name, entry in checkpoint.entries.items()
    }
    return replace(checkpoint, entries=entries)


def _as_was(alignment: Alignment, path: str, entry: Entry) -> Any:
    return alignment.states[path][entry.name].to(entry.dtype.torch).contiguous()


def mend(network: nn.Module, alignment: Alignment) -> bool:
    """Bring a fusion's activations back to its parents' (REPAIR) where no batch normalisation can; whether it did."""
    if not alignment.batches or batch_norms(network):
        return False
    states = list(alignment.states.values())
    mended(network, [(1 / len(states), state) for state in states], alignment.symmetry, alignment.batches)
    return True


def with_alignment(report: Report, alignment: Alignment) -> Report:
    """The report with what was permuted, and the barriers before and after."""
    return replace(
        report,
        summary=(*_sentences(alignment), *report.summary),
        sections=(*_sections(alignment), *report.sections),
        warnings=(*report.warnings, *_unknown(alignment), *_unmended(alignment)),
    )


def _sentences(alignment: Alignment) -> list[str]:
    symmetry = alignment.symmetry
    units = sum(_units(alignment, i) for i in range(len(symmetry.groups)))
    found = [
        f"Aligned by {alignment.way} to the first parent: {len(symmetry.groups)} groups of {units:,} units may change"
        " places without changing a network's answers."
    ]
    for path, measured in alignment.barriers.items():
        mends = measured["aligned, mended"].value < measured["aligned"].value  # new statistics may do harm
        how, end = (" with activations mended", ", mended") if mends else ("", "")
        before, after = measured[f"as they are{end}"], measured[f"aligned{end}"]
        found.append(f"Loss barrier to '{path}'{how}: {_told(before)}, aligned {_told(after)}.")
    return found


def _units(alignment: Alignment, number: int) -> int:
    group = alignment.symmetry.groups[number]
    return group.size * (1 if group.parent is None else alignment.symmetry.groups[group.parent].size)


def _told(found: Barrier) -> str:
    return f"{found.value:.3f} ({found.low:.3f} to {found.high:.3f}, n = {found.n})"


def _sections(alignment: Alignment) -> list[Section]:
    groups = alignment.symmetry.groups
    rows = [
        {
            "group": group.name,
            "units": group.size,
            "within": "" if group.parent is None else groups[group.parent].name,
            **{f"moved in {path}": round(alignment.moved(path)[i], 3) for path in alignment.orders},
        }
        for i, group in enumerate(groups)
    ]
    permuted = Section(
        kind="table",
        title="What was permuted",
        content={"columns": list(rows[0]), "rows": rows},
        note="Each group is called after the first tensor that has it, and its axis; moved: the share of its units.",
    )
    return [*([_barriers(alignment)] if alignment.barriers else []), permuted]


def _barriers(alignment: Alignment) -> Section:
    rows = [
        {
            "parent": path,
            "state": name,
            "barrier": {"value": b.value, "low": b.low, "high": b.high, "n": b.n},
            "at": b.alpha,
            **{f"loss {alpha:g}": round(loss, 4) for alpha, loss in zip(b.alphas, b.losses, strict=True)},
        }
        for path, measured in alignment.barriers.items()
        for name, b in measured.items()
    ]
    return Section(
        kind="table",
        title="Loss barrier on the line from the first parent",
        content={"columns": list(rows[0]), "rows": rows},
        note="How much higher the loss is between two networks than at them, at the worst place; validation examples."
        " Mended: statistics of batch normalisation estimated anew, or layers renormalised (REPAIR).",
    )


def _unknown(alignment: Alignment) -> Sequence[DataWarning]:
    unknown = alignment.symmetry.unknown
    if not unknown:
        return ()
    told = f"{len(unknown)} places of the network were not understood; units that reach them keep their order."
    return (DataWarning(code="not-aligned", message=told, places=unknown),)


def _unmended(alignment: Alignment) -> Sequence[DataWarning]:
    """Without examples the variance that averaging takes from activations cannot be given back."""
    if alignment.batches:
        return ()
    told = (
        "Without examples the activations of the result are not mended, nor was it measured: with batch normalisation"
        " it may answer no better than chance. Give labelled examples (--on)."
    )
    return (DataWarning(code="not-mended", message=told),)


def recorded(alignment: Alignment) -> dict[str, Any]:
    """For the record beside the result: which orders were applied, by digest."""
    return {
        "way": alignment.way,
        "groups": len(alignment.symmetry.groups),
        "orders": {path: of_value([np.asarray(o).tolist() for o in own]) for path, own in alignment.orders.items()},
        "unknown": list(alignment.symmetry.unknown),
    }
