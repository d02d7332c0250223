"""α from 0, the first parent, to 1, the second: a sweep in equal steps, both ends among them.

Wortsman et al., "Robust fine-tuning of zero-shot models" (WiSE-FT), arXiv 2109.01903, where the first parent is what
the second was fine-tuned from. Changed: the likelihood of the examples at the best temperature chooses, not accuracy,
of which neighbouring α often have the same. For `linear` and `nuslerp` the weights are 1−α, α; for `slerp` t is α.
"""

from transfuse.core.errors import UsageError
from transfuse.core.runs import Run
from transfuse.fusing.coefficients.methods import Judge, Searched
from transfuse.fusing.coefficients.trying import only_parts, swept, with_settings
from transfuse.fusing.recipes import Recipe

_METHODS = ("linear", "nuslerp", "slerp")


def alpha(recipe: Recipe, judge: Judge, *, trials: int, seed: int, run: Run) -> Searched:
    """Try `trials` values of α."""
    count = only_parts(recipe, "alpha") + (recipe.method == "slerp" and recipe.base is not None)
    if recipe.method not in _METHODS or count != 2:
        raise UsageError(
            f"`search=alpha` must go with {', '.join(_METHODS)} of two parents, not {recipe.method} of {count}."
        )

    def made(share: float) -> Recipe:
        if recipe.method == "slerp":
            return with_settings(recipe, {"t": share})
        return with_settings(recipe, {}, [{"weight": 1 - share}, {"weight": share}])

    return swept(judge, made, "alpha", trials=trials, seed=seed, run=run)
