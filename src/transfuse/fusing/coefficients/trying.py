"""A search over options of a recipe, by the room for searching; shared by the searches."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from transfuse.core.errors import UsageError
from transfuse.core.runs import Run
from transfuse.fusing.coefficients.methods import Judge, Searched, Worth
from transfuse.fusing.recipes import Recipe
from transfuse.searching.search import search
from transfuse.searching.space import Options, Real, Space, grid
from transfuse.searching.strategies import Strategy


def tried(
    judge: Judge,
    made: Callable[[Options], Recipe],
    space: Space,
    strategy: Strategy,
    *,
    first: Sequence[Options],
    run: Run,
) -> Searched:
    """The recipe `made` of the options that are most likely by the examples, the first of equal ones."""
    worths: dict[tuple[Any, ...], Worth] = {}

    def score(options: Options, effort: int, report: Callable[[int, float], None]) -> float:
        worths[tuple(options.values())] = judge(made(options))
        return worths[tuple(options.values())].likelihood

    in_memory = replace(run, checkpoints=None)  # a trial takes seconds: what is found is written with the result
    found = search(score, space, strategy, first=first, run=in_memory)
    attempts = [attempt for attempt in found.attempts if tuple(attempt.options.values()) in worths]
    rows = [row(attempt.options, worths[tuple(attempt.options.values())]) for attempt in attempts]
    best = ", ".join(f"{name} = {value:.3g}" for name, value in zip(space, numbers(found.best.options), strict=True))
    worth = worths[tuple(found.best.options.values())]
    return Searched(recipe=made(found.best.options), rows=tuple(rows), found=best, worth=worth)


def numbers(options: Options) -> list[float]:
    """The values of options that are all numbers, in their order."""
    return [float(value) for value in options.values() if isinstance(value, int | float)]


def row(options: Mapping[str, Any], worth: Worth) -> dict[str, Any]:
    """One trial for the report."""
    return {**options, "metric": worth.metric, "likelihood": worth.likelihood}


def swept(judge: Judge, made: Callable[[float], Recipe], search: str, *, trials: int, seed: int, run: Run) -> Searched:
    """As `tried`, of one number from 0 to 1 in equal steps. Raises `UsageError` for fewer trials than two ends."""
    if trials < 2:
        raise UsageError(f"`trials` must be at least 2 for `search={search}`, whose ends are two, but is {trials}.")
    space = {search: Real(low=0.0, high=1.0)}
    first = grid(space, trials)
    strategy = Strategy(trials=len(first), sampler="random", seed=seed)
    return tried(judge, lambda options: made(*numbers(options)), space, strategy, first=first, run=run)


def only_parts(recipe: Recipe, search: str) -> int:
    """The number of parents of a recipe of one slice. Raises `UsageError` for others."""
    if len(recipe.slices) != 1:
        raise UsageError(f"`search={search}` must be given a recipe of one slice, but it has {len(recipe.slices)}.")
    return len(recipe.slices[0].parts)


def with_settings(recipe: Recipe, shared: Mapping[str, Any], own: Sequence[Mapping[str, Any]] = ()) -> Recipe:
    """The recipe with these settings in place of its own: of all parents, and of each."""
    piece = recipe.slices[0]
    each = own or [{}] * len(piece.parts)
    names = {*shared, *(name for settings in each for name in settings)}
    parts = tuple(
        replace(part, settings={**{n: v for n, v in part.settings.items() if n not in names}, **settings})
        for part, settings in zip(piece.parts, each, strict=True)
    )
    above = {name: value for name, value in piece.settings.items() if name not in names}
    return replace(
        recipe, slices=(replace(piece, parts=parts, settings=above),), settings={**recipe.settings, **shared}
    )  # fmt: skip
