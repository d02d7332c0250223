"""What can be known of a fusion from headers and samples, before anything is written."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Report
from transfuse.core.tables import chosen
from transfuse.fusing.checkpoints import Checkpoint, open_checkpoint
from transfuse.fusing.inputs.opening import open_parents
from transfuse.fusing.kinship import Kinship, kinships, require_related
from transfuse.fusing.outputs.methods import METHODS as OUTPUTS
from transfuse.fusing.planning import Missing, Plan, parents_of, planned
from transfuse.fusing.recipes import Recipe, read_recipe, recipe_of
from transfuse.fusing.telling import needs, told
from transfuse.fusing.weights.methods import METHODS

GREEDY_SOUP = "greedy_soup"


@dataclass(frozen=True, kw_only=True)
class Order:
    """A fusion that passed the preflight."""

    recipe: Recipe
    plan: Plan
    checkpoints: Mapping[str, Checkpoint]
    related: tuple[Kinship, ...]
    needed: Mapping[str, int]
    threads: int
    command: str
    alignment: Any = None
    """What was permuted (`alignment.aligning.Alignment`)."""

    @property
    def models(self) -> tuple[str, ...]:
        """Parents (the base not among them) when all of them are saved Models."""
        paths = tuple(dict.fromkeys(part.path for part in self.recipe.parts))
        return paths if all(self.checkpoints[path].document is not None for path in paths) else ()


def recipe_from(
    parents: Sequence[str | Path],
    recipe: str | Path | None,
    base: str | Path | None,
    method: str,
    options: Mapping[str, Any],
    statistics: Sequence[str | Path],
    **known: Any,
) -> Recipe:
    """The recipe of a file, or of plain arguments. Raises `UsageError` for both, or neither."""
    if recipe is None:
        if not parents:
            raise UsageError("`fuse` must be given parents, or a recipe, but has neither.")
        known["compat"] = known["compat"] or "published"
        chosen("method of fusing", method, (*METHODS, GREEDY_SOUP, *OUTPUTS))
        return recipe_of(parents, base=base, method=method, options=options, statistics=statistics, **known)
    if parents or base or options or statistics:
        raise UsageError("A recipe must say everything about the fusion: give no parents, base or options beside it.")
    read = read_recipe(recipe, compat=known["compat"], seed=known["seed"] or None)
    return replace(read, dtype=known["dtype"] or read.dtype)


def preflight(
    recipe: Recipe, on: Any, *, missing: Missing, force: bool, threads: int | None, command: str, trust_code: bool
) -> Order:
    """Everything that can be known from headers and samples, before anything is written."""
    chosen("way with missing tensors", missing, ("refuse", "copy", "drop"))
    checkpoints = open_parents(recipe)
    statistics = _statistics(recipe)
    documents = {path: c.document for path, c in checkpoints.items() if c.document is not None}
    if len(documents) == len(checkpoints):
        from transfuse.fusing.models import require_alike  # loads networks: seconds that bare files need not

        require_alike(documents)
    alignment = None
    if recipe.align != "none":
        from transfuse.fusing.alignment.parents import aligned_parents

        checkpoints, alignment = aligned_parents(recipe, checkpoints, on, trust_code=trust_code)
    plan = planned(recipe, checkpoints, statistics, missing=missing)
    related = _related(recipe, plan)
    if not force and alignment is None and METHODS[recipe.method].most != 1:
        require_related(related)
    used = threads or min(os.cpu_count() or 1, 8)
    needed = needs(recipe, plan, checkpoints, used)
    order = Order(
        recipe=recipe, plan=plan, checkpoints=checkpoints, related=tuple(related), needed=needed, threads=used,
        command=command, alignment=alignment,
    )  # fmt: skip
    if on is not None and not order.models:
        raise UsageError("`on` must go with saved Models, but the parents are bare weights, which cannot be asked.")
    return order


def _statistics(recipe: Recipe) -> dict[str, Checkpoint]:
    """What the method wants to know of every parent, by the path of its file."""
    wanted = METHODS[recipe.method].statistics
    given = {part.statistics for part in recipe.parts if part.statistics}
    if wanted and not given:
        raise UsageError(
            f"`{recipe.method}` must be given `statistics` ({wanted}), one file for each parent, or saved Models with"
            " `on` (and `out`), on whose training examples they are computed."
        )
    return {path: open_checkpoint(path) for path in given}


def _related(recipe: Recipe, plan: Plan) -> list[Kinship]:
    """How the parents of a whole network are related, two or more with the base."""
    if len(recipe.slices) > 1 or len(recipe.parts) + (recipe.base is not None) < 2:
        return []
    count = max((len(work.entries) for work in plan.works if work.fate == "merged"), default=0)
    names = [part.path for part in parents_of(recipe, recipe.slices[0])]
    return kinships(plan, names[:count], recipe.base)


def report_of(order: Order, found: Sequence[str] = ()) -> Report:
    """What was seen, and `found` sentences about what was done."""
    report = told(order.recipe, order.plan, order.related, order.needed, found=found, command=order.command)
    if order.alignment is None:
        return report
    from transfuse.fusing.alignment.parents import with_alignment

    return with_alignment(report, order.alignment)
