"""Greedy soup (see `searching.greedy`): the mean of the parents that help, by the task's own metric.

Wortsman et al., "Model soups", arXiv 2203.05482, recipe 1. One that helps nobody leaves the best parent alone.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from transfuse.core.errors import UsageError
from transfuse.core.runs import Run
from transfuse.fusing.coefficients.methods import Judge, Searched, Worth
from transfuse.fusing.coefficients.trying import only_parts, row
from transfuse.fusing.recipes import Part, Recipe
from transfuse.searching.greedy import greedy


def soup(recipe: Recipe, judge: Judge, *, trials: int, seed: int, run: Run) -> Searched:
    """The uniform mean of the parents that help; tries each alone, and each but the best with those kept before."""
    if recipe.method != "linear" or only_parts(recipe, "soup") < 2:
        raise UsageError("`search=soup` must go with linear of at least two parents.")
    parts = recipe.slices[0].parts
    alone = [judge(_of(recipe, [part])) for part in parts]
    order = sorted(range(len(parts)), key=lambda m: (-alone[m].metric, -alone[m].likelihood, m))
    rows = [row({"parents": _names([parts[m]])}, alone[m]) for m in order]

    def mixed(some: Sequence[Part]) -> Worth:
        tried = judge(_of(recipe, some))
        rows.append(row({"parents": _names(some)}, tried))
        return tried

    kept, best = greedy([parts[m] for m in order], alone[order[0]], mixed, lambda worth: worth.metric)
    return Searched(recipe=_of(recipe, kept), rows=tuple(rows), found=_names(kept), worth=best)


def _of(recipe: Recipe, parts: Sequence[Part]) -> Recipe:
    plain = tuple(replace(part, settings={}) for part in parts)
    return replace(recipe, base=None, slices=(replace(recipe.slices[0], parts=plain, settings={}),), settings={})


def _names(parts: Sequence[Part]) -> str:
    return " + ".join(Path(part.path).name for part in parts)
