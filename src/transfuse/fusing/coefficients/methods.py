"""The searches by name.

A search is `search(recipe, judge, *, trials, seed, run) -> Searched`: a recipe, and what the fusion of any other recipe
of these parents is worth, to the best recipe that was tried.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from transfuse.core.tables import Table
from transfuse.fusing.recipes import Recipe

_ROOM = "transfuse.fusing.coefficients."

SEARCHES: Table = {
    "alpha": _ROOM + "alpha:alpha",
    "lambda": _ROOM + "scale:scale",
    "layers": _ROOM + "layers:layers",
    "soup": _ROOM + "soup:soup",
}

TRIALS: Mapping[str, int] = {"alpha": 11, "lambda": 21, "layers": 60, "soup": 1}
"""How many when nobody says."""


@dataclass(frozen=True, kw_only=True)
class Worth:
    """How good a fusion is on the examples of the search; of both, more is better."""

    metric: float
    """The task's primary metric; of an error its negative."""
    likelihood: float
    """Mean log-likelihood at the best temperature; of numbers the negative error. Smoother than the metric."""
    temperature: float = 1.0
    """That temperature."""


Judge = Callable[[Recipe], Worth]


@dataclass(frozen=True, kw_only=True)
class Searched:
    """What a search found."""

    recipe: Recipe
    rows: tuple[Mapping[str, Any], ...]
    """One for each trial: what was tried, and what it was worth."""
    found: str
    """The best, in words."""
    worth: Worth
    """What the recipe is worth."""
