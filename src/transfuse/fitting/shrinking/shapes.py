"""From options of a shape to a smaller Model that meets a limit: blocks cut, units pruned, layers of lower rank.

Options: `cut` is the share of the blocks to go; what is then missing to the limit is met by whole units (`rank` 0), by
lower ranks (`rank` 1), or by both in equal parts of the logarithm; `activation` is `same` or another one.
"""

from collections.abc import Mapping
from typing import Any

from transfuse.core.errors import UsageError, WeightsError
from transfuse.core.nouns import Model, Task
from transfuse.core.runs import Run
from transfuse.fitting.shrinking.limits import Limit
from transfuse.predicting.costs import costs_of
from transfuse.reshaping.ways import WAYS, Given
from transfuse.searching.space import Choice, Options, Space

SPACE: Space = {
    "cut": Choice(values=(0.0, 0.2, 0.4)),
    "rank": Choice(values=(0.0, 0.5, 1.0)),
    "activation": Choice(values=("same", "relu")),
}
_SMALL = ((0.0, 1.0), (0.0, 0.0), (0.0, 0.5), (0.2, 1.0))
_FAST = ((0.4, 0.0), (0.2, 0.0), (0.0, 0.0), (0.4, 0.5))  # time goes into layers, of which lower ranks add some
_LEAST = 0.02
"""Shares below this are not worth a change."""
_TRIES = 6
_MARGIN = 0.97
"""Of the time allowed, for the next measurement of the same network may be slower."""


def first(limit: Limit) -> tuple[Options, ...]:
    """What is tried, in this order, before the search chooses by itself."""
    shares = _SMALL if limit.unit == "x" else _FAST
    return tuple({"cut": cut, "rank": rank, "activation": "same"} for cut, rank in shares)


def shaped(model: Model, task: Task, options: Mapping[str, Any], limit: Limit, *, seed: int, run: Run) -> Model:
    """The Model in the shape of the options, as large as the limit allows. Raises `WeightsError`, `UsageError`."""
    if limit.unit == "x":
        return _of_size(model, task, options, limit.value, seed, run)
    now = costs_of([model])[0].milliseconds
    times = now / (limit.value * _MARGIN)
    if times <= 1:
        raise UsageError(f"'{model.name}' takes {now:.2f} ms already, less than the {limit.value:g} ms allowed.")
    least = now
    for _ in range(_TRIES):
        try:
            found = _of_size(model, task, options, times, seed, run)
        except (UsageError, WeightsError):  # no smaller
            break
        taken = costs_of([found])[0].milliseconds
        if taken <= limit.value * _MARGIN:
            return found
        least, times = min(least, taken), times * max(1.1, taken / (limit.value * _MARGIN))
    raise WeightsError(
        f"No such shape of '{model.name}' answers within {limit.value:g} ms: the fastest took {least:.2f} ms. Its time"
        " may lie in the number of its layers: distil it into a network with fewer."
    )


def _of_size(model: Model, task: Task, options: Mapping[str, Any], times: float, seed: int, run: Run) -> Model:
    """So many times smaller."""
    target, head = parameters(model) / times, parameters(model, "head")
    if target <= head:
        raise WeightsError(
            f"'{model.name}' cannot be made {times:g} times smaller: its head alone has {head:,} parameters, and"
            f" {target:,.0f} are allowed."
        )
    if options["activation"] != "same":
        model = _changed("activation", model, options["activation"], task, seed, run)
    if options["cut"] > 0:
        model = _changed("cut", model, options["cut"], task, seed, run)
    left = target / parameters(model)
    by_units = 1 - left ** (1 - options["rank"])
    if by_units > _LEAST:
        model = _changed("prune", model, by_units, task, seed, run)
    head = parameters(model, "head")  # which lost inputs with the units
    by_rank = 1 - (target - head) / (parameters(model) - head)
    if by_rank > _LEAST and options["rank"] > 0:
        model = _changed("low_rank", model, by_rank, task, seed, run)
    return model


def _changed(way: str, model: Model, value: Any, task: Task, seed: int, run: Run) -> Model:
    return WAYS[way](Given(model, task, seed, run), value)[0]


def parameters(model: Model, part: str = "") -> int:
    """Of body and head, or of one of them."""
    return sum(p.numel() for p in model.network.get_submodule(part).parameters())
