"""One operator of a traced graph with the axes of the tensors that it is given."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from torch import fx

from transfuse.tracing.terms import Term, fixed
from transfuse.tracing.unifying import unify_all

Axes = list[Term]


@dataclass(frozen=True, kw_only=True)
class Call:
    """One operator with what it is given."""

    name: str
    given: Mapping[str, Any]
    """Arguments by their names in the operator's schema; tensors as their axes."""
    shapes: tuple[tuple[int, ...], ...]
    """Of the results."""

    def tensors(self) -> list[Axes]:
        """The axes of every tensor among the arguments."""
        return [axes for value in self.given.values() for axes in _tensors(value)]


class Tensor(list):  # type: ignore[type-arg]
    """The axes of a tensor; a class of its own, to tell it from a list of numbers."""


def _tensors(value: Any) -> list[Axes]:
    if isinstance(value, Tensor):
        return [value]
    return [axes for item in value for axes in _tensors(item)] if isinstance(value, list | tuple) else []


def operator_of(node: fx.Node) -> str:
    """Its name in ATen; empty for what is no operator."""
    return str(getattr(getattr(node.target, "_schema", None), "name", "")).partition("::")[2]


def broadcast(tensors: Sequence[Axes], count: int) -> Axes:
    """The axes of a result in which these meet from the last on; those that meet share one order."""
    met: list[Axes] = [[] for _ in range(count)]
    for axes in tensors:
        for place, axis in enumerate(axes, count - len(axes)):
            met[place] += [axis] if axis.size > 1 else []
    pairs = [pair for axes in met for pair in pairwise(axes)]
    unify_all([a for a, _ in pairs], [b for _, b in pairs])
    return [axes[0] if axes else fixed(1) for axes in met]
