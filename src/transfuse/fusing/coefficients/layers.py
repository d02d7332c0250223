"""Coefficients by depth: at the first layer, in the middle and at the last, straight lines between; by CMA-ES.

Layer gradients are mergekit's form of a setting; evolving merges by CMA-ES is Akiba et al., "Evolutionary optimization
of model merging recipes", arXiv 2403.13187. Changed: one likelihood on labelled examples is the fitness. `slerp` has
one gradient, of t; other methods one for each parent's weight. All lie in 0..1 and start from the middle.
"""

from transfuse.core.errors import UsageError
from transfuse.core.runs import Run
from transfuse.fusing.coefficients.methods import Judge, Searched
from transfuse.fusing.coefficients.trying import numbers, only_parts, tried, with_settings
from transfuse.fusing.recipes import Recipe
from transfuse.fusing.weights.options import own_options
from transfuse.searching.space import Options, Real
from transfuse.searching.strategies import Strategy

POINTS = ("first", "middle", "last")
_LEAST = 1e-3
"""Weights that are all 0 have no mean."""


def layers(recipe: Recipe, judge: Judge, *, trials: int, seed: int, run: Run) -> Searched:
    """Try `trials` sets of gradients."""
    count = only_parts(recipe, "layers")
    known = own_options(recipe.method)
    if "t" not in known and "weight" not in known:
        raise UsageError(
            f"`search=layers` must go with a method that has weights or t, but {recipe.method} has neither."
        )
    space: dict[str, Real] = {}
    if "t" in known:
        space = {f"t {point}": Real(low=0.0, high=1.0) for point in POINTS}
    else:
        space = {f"{m} {point}": Real(low=_LEAST, high=1.0) for m in range(count) for point in POINTS}

    def made(options: Options) -> Recipe:
        values = numbers(options)
        if "t" in known:
            return with_settings(recipe, {"t": values})
        step = len(POINTS)
        return with_settings(recipe, {}, [{"weight": values[m * step : (m + 1) * step]} for m in range(count)])

    middle = {name: (real.low + real.high) / 2 for name, real in space.items()}
    strategy = Strategy(trials=trials, sampler="cmaes", seed=seed)
    return tried(judge, made, space, strategy, first=[middle], run=run)
