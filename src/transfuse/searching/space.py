"""What a search may choose: named options with their ranges, some of which exist only beside certain others.

    space = {
        "optimizer": Choice(values=("adamw", "sgd")),
        "rate": Real(low=1e-4, high=1e-1, log=True),
        "momentum": Real(low=0.5, high=0.99, when={"optimizer": ("sgd",)}),
    }

An option that does not apply is absent from what is tried, not None. Values are what JSON can hold, so that a search
can be taken up again; what is not (a head's plan, an augmentation) goes by a name that the caller looks up.
"""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from transfuse.core.errors import UsageError
from transfuse.core.tables import chosen

Value = bool | int | float | str | None
Options = Mapping[str, Value]
When = Mapping[str, tuple[Value, ...]]


@dataclass(frozen=True, kw_only=True)
class Real:
    """A real number."""

    low: float
    high: float
    """Both ends belong to the range."""
    log: bool = False
    """True to treat 0.001 to 0.01 as being as wide as 0.01 to 0.1; needs `low` above 0."""
    when: When = field(default_factory=dict)
    """Applies only where every option named here has one of the values given."""


@dataclass(frozen=True, kw_only=True)
class Whole:
    """A whole number; fields as in `Real`."""

    low: int
    high: int
    log: bool = False
    when: When = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of several values without an order."""

    values: tuple[Value, ...]
    when: When = field(default_factory=dict)


Dimension = Real | Whole | Choice
Space = Mapping[str, Dimension]


def check_space(space: Space) -> None:
    """Raise `UsageError` for a range or condition that cannot be searched."""
    if not space:
        raise UsageError("`space` must name at least one option to search, but is empty.")
    for position, (name, dimension) in enumerate(space.items()):
        _check_range(name, dimension)
        for other, values in dimension.when.items():
            _check_condition(name, other, values, dict(itertools.islice(space.items(), position)))


def choose(space: Space, pick: Callable[[str, Dimension], Value]) -> dict[str, Value]:
    """Options in the order of the space, each from `pick`, without those that do not apply beside the ones before."""
    options: dict[str, Value] = {}
    for name, dimension in space.items():
        if applies(dimension, options):
            options[name] = pick(name, dimension)
    return options


def applies(dimension: Dimension, options: Options) -> bool:
    """Whether the conditions hold; an option that does not apply fulfils no condition."""
    return all(name in options and options[name] in values for name, values in dimension.when.items())


def check_options(space: Space, options: Options) -> None:
    """Raise `UsageError` for a value outside its range, `UnknownName` for an option that the space does not have."""
    for name, value in options.items():
        dimension = space[chosen("option of the space", name, space)]
        if not _inside(dimension, value):
            raise UsageError(f"`{name}` must be {_words(dimension)}, but is {value!r}.")


def grid(space: Space, points: int | Mapping[str, int] = 5) -> list[dict[str, Value]]:
    """Every combination: all values of a choice, and `points` of a number, spread evenly (or by ratio) over its range.

    Options that do not apply multiply nothing. A search over the grid is `search(score, space, Strategy(trials=len(g)),
    first=g)`.

    Args:
        points: For all numbers, or for each by its name; whole numbers that fall together count once.
    """
    check_space(space)
    combinations: list[dict[str, Value]] = [{}]
    for name, dimension in space.items():
        count = points if isinstance(points, int) else points.get(name, 5)
        values = _points(name, dimension, count)
        combinations = [
            extended
            for options in combinations
            for extended in ([{**options, name: v} for v in values] if applies(dimension, options) else [options])
        ]
    return combinations


def _points(name: str, dimension: Dimension, count: int) -> Sequence[Value]:
    if isinstance(dimension, Choice):
        return dimension.values
    if count < 1:
        raise UsageError(f"`points` must be at least 1 for every number, but is {count} for '{name}'.")
    low, high = (math.log(end) if dimension.log else end for end in (dimension.low, dimension.high))
    steps = [low + (high - low) * i / (count - 1) for i in range(count)] if count > 1 else [(low + high) / 2]
    values = [math.exp(step) if dimension.log else float(step) for step in steps]
    if isinstance(dimension, Whole):
        return list(dict.fromkeys(round(value) for value in values))
    return list(dict.fromkeys(min(max(value, dimension.low), dimension.high) for value in values))  # exp(log(x)) rounds


def _check_range(name: str, dimension: Dimension) -> None:
    if isinstance(dimension, Choice):
        if not dimension.values or len(set(dimension.values)) < len(dimension.values):
            raise UsageError(
                f"`{name}` must have at least one value and none twice (1 equals True), but has {dimension.values}."
            )
        return
    if not (math.isfinite(dimension.low) and math.isfinite(dimension.high) and dimension.low <= dimension.high):
        raise UsageError(
            f"`{name}` must range from a lower to a higher number, but is {dimension.low}..{dimension.high}."
        )
    if dimension.log and dimension.low <= 0:
        raise UsageError(f"`{name}` must start above 0 to be searched by ratio, but starts at {dimension.low}.")


def _check_condition(name: str, other: str, values: tuple[Value, ...], before: Space) -> None:
    dimension = before.get(other)
    if not isinstance(dimension, Choice):
        raise UsageError(f"`{name}` must depend on a choice that stands before it, but depends on '{other}'.")
    strange = [value for value in values if value not in dimension.values]
    if strange or not values:
        raise UsageError(f"`{name}` must depend on values of '{other}' ({dimension.values}), but depends on {values}.")


def _inside(dimension: Dimension, value: Value) -> bool:
    if isinstance(dimension, Choice):
        return value in dimension.values
    if isinstance(value, bool) or not isinstance(value, int if isinstance(dimension, Whole) else int | float):
        return False
    return dimension.low <= value <= dimension.high


def _words(dimension: Dimension) -> str:
    if isinstance(dimension, Choice):
        return f"one of {', '.join(map(repr, dimension.values))}"
    kind = "whole number" if isinstance(dimension, Whole) else "number"
    return f"a {kind} from {dimension.low} to {dimension.high}"
