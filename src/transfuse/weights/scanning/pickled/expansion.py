"""How large the object of a pickle is when every reference is followed: a few bytes can stand for 10^11 lists."""

from typing import Any

from transfuse.weights.scanning.pickled.values import Nest, Node

_RUINOUS = 10**9
_SHARED = 10_000  # times that the average entry may be shared before it is strange


def expansion(root: Any) -> int:
    """Leaves of the largest tree of lists, tuples, sets and dictionaries under `root`; an object ends a tree.

    References back into a container that is being followed count as one leaf.
    """
    if root.__class__ not in (Node, Nest):
        return 1
    weights: dict[int, int] = {}
    largest, waiting = 1, [(root, False)]
    while waiting:
        value, done = waiting.pop()
        if done:
            weight = value.atoms + sum(_counted(inner, weights) for inner in value.nested) + 1
            weights[id(value)] = min(weight, 10**30)
            largest = max(largest, weight)
        elif id(value) not in weights:
            weights[id(value)] = 1
            waiting.append((value, True))
            waiting.extend((inner, False) for inner in value.nested if id(inner) not in weights)
    return largest


def _counted(value: Any, weights: dict[int, int]) -> int:
    return 1 if value.__class__ is Node and value.kind == "object" else weights[id(value)]


def ruinous(root: Any, instructions: int) -> bool:
    """Whether following every reference would take more than a file of this many bytes can mean."""
    return expansion(root) > max(_RUINOUS, _SHARED * instructions)
