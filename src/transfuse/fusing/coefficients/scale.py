"""λ from 0, the base, to 1: a line search for the methods that add λ times what was merged to the base.

Ilharco et al., "Editing models with task arithmetic", arXiv 2212.04089, section 4: λ in steps of 0.05 on held-out
examples. The base itself, λ = 0, is among what is tried. Chosen by likelihood, as in `alpha`.
"""

from transfuse.core.errors import UsageError
from transfuse.core.runs import Run
from transfuse.fusing.coefficients.methods import Judge, Searched
from transfuse.fusing.coefficients.trying import only_parts, swept, with_settings
from transfuse.fusing.recipes import Recipe
from transfuse.fusing.weights.methods import METHODS
from transfuse.fusing.weights.options import own_options


def scale(recipe: Recipe, judge: Judge, *, trials: int, seed: int, run: Run) -> Searched:
    """Try `trials` values of λ."""
    only_parts(recipe, "lambda")
    if "scale" not in own_options(recipe.method):
        known = [name for name in METHODS if "scale" in own_options(name)]
        raise UsageError(f"`search=lambda` must go with a method that has λ ({', '.join(known)}), not {recipe.method}.")
    return swept(
        judge, lambda scale: with_settings(recipe, {"scale": scale}), "lambda", trials=trials, seed=seed, run=run
    )
