"""Units of a network that grow or go together: one order of the traced graph, wherever its axes stand.

Orders that stand side by side in one place (each head has its own order of channels) are one `Units`. What operators
ask of their axes (`roles.Roles`) says how units may be copied: freely, all equally often, or not at all.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import numpy as np

from transfuse.tracing.terms import Cat, Choice, Leaf, Prod, Term, choices, inside, is_fixed, leaves, normal
from transfuse.tracing.walking import Walked

Maps = Mapping[int, np.ndarray]
"""For units, by number, where each new one comes from: (n',) numbers of old ones."""


@dataclass(frozen=True, kw_only=True)
class Units:
    """One set of units."""

    name: str
    """The first tensor that has them, and the axis; `2 of` it, where one axis counts several (groups and channels)."""
    size: int
    leaves: tuple[Leaf, ...]
    tensors: tuple[tuple[str, int], ...]
    """Every tensor that has them, and the axis."""


class Orders:
    """The units of a network, and where each leaf of a term belongs."""

    def __init__(self, walked: Walked) -> None:
        joined = _Joined()
        terms = [(name, i, normal(axis)) for name, axes in walked.states.items() for i, axis in enumerate(axes)]
        for _, _, term in terms:
            joined.add(term)
        self.number: dict[int, int] = {}
        self.units: list[Units] = []
        self._kept = joined.kept  # numbers are those of objects, which must live on
        for members, places in joined.sets(terms):
            self.number |= {id(leaf): len(self.units) for leaf in members}
            name = "{}[{}]".format(*places[0])
            named = sum(units.name.partition(" of ")[2] == name or units.name == name for units in self.units)
            self.units.append(
                Units(
                    name=name if not named else f"{named + 1} of {name}",
                    size=members[0].size,
                    leaves=tuple(members),
                    tensors=tuple(places),
                )
            )

    def of(self, term: Term) -> list[int]:
        """Numbers of the units that a term counts."""
        found = (self.number.get(id(leaf)) for leaf in leaves(normal(term)))
        return list(dict.fromkeys(number for number in found if number is not None))

    def positions(self, term: Term, maps: Maps) -> np.ndarray:
        """Where each new position of an axis comes from."""
        return self._walk(term, lambda leaf, number: maps.get(number, np.arange(leaf.size)), _places)

    def shares(self, term: Term, maps: Maps, shares: Maps) -> np.ndarray:
        """The product, at each new position of an axis, of the shares of its units."""

        def own(leaf: Leaf, number: int) -> np.ndarray:
            return shares.get(number, np.ones(len(maps.get(number, range(leaf.size)))))

        return self._walk(term, own, lambda outer, inner, size: (outer[:, None] * inner[None]).reshape(-1))

    def members(self, term: Term, number: int) -> np.ndarray:
        """Which of some units each position of an axis belongs to; -1 for none of them."""

        def own(leaf: Leaf, found: int) -> np.ndarray:
            return np.arange(leaf.size) if found == number else np.full(leaf.size, -1)

        return self._walk(term, own, lambda outer, inner, size: np.maximum(outer[:, None], inner[None]).reshape(-1))

    def sized(self, term: Term, sizes: Mapping[int, int]) -> int:
        """Positions of an axis when units have other sizes."""
        term = normal(term)
        if isinstance(term, Leaf):
            return sizes.get(self.number.get(id(term), -1), term.size)
        if isinstance(term, Choice):
            return self.sized(term.options[0], sizes)
        pieces = [self.sized(piece, sizes) for piece in inside(term)]
        return sum(pieces) if isinstance(term, Cat) else math.prod(pieces)

    def _walk(
        self, term: Term, of_leaf: Callable[[Leaf, int], np.ndarray], joined: Callable[[Any, Any, int], np.ndarray]
    ) -> np.ndarray:
        """One number a position of an axis, from those of its leaves; orders in a choice are all alike."""
        term = normal(term)
        if isinstance(term, Leaf):
            return of_leaf(term, self.number.get(id(term), -1))
        if isinstance(term, Choice):
            return self._walk(term.options[0], of_leaf, joined)
        pieces = [self._walk(piece, of_leaf, joined) for piece in inside(term)]
        if isinstance(term, Prod):
            whole = pieces[0]
            for piece, factor in zip(pieces[1:], term.factors[1:], strict=True):
                whole = joined(whole, piece, factor.size)
            return whole
        if joined is not _places:
            return np.concatenate(pieces)
        offsets = accumulate((part.size for part in term.parts[:-1]), initial=0)
        return np.concatenate([piece + offset for piece, offset in zip(pieces, offsets, strict=True)])


def _places(outer: np.ndarray, inner: np.ndarray, size: int) -> np.ndarray:
    return np.asarray((outer[:, None] * size + inner[None]).reshape(-1))


class _Joined:
    """Leaves that share one map; private, since only `Orders` makes one."""

    def __init__(self) -> None:
        self.parent: dict[int, int] = {}
        self.kept: dict[int, Leaf] = {}

    def add(self, term: Term) -> None:
        for leaf in leaves(term):
            self.parent.setdefault(id(leaf), id(leaf))
            self.kept[id(leaf)] = leaf
        for choice in choices(term):
            first, *others = [list(leaves(normal(option))) for option in choice.options]
            for other in others:
                for a, b in zip(first, other, strict=False):
                    self.parent[self.root(id(b))] = self.root(id(a))

    def root(self, own: int) -> int:
        while self.parent[own] != own:
            own = self.parent[own]
        return own

    def sets(self, terms: Sequence[tuple[str, int, Term]]) -> Iterator[tuple[list[Leaf], list[tuple[str, int]]]]:
        """Leaves that are one, and the axes that have them; without those that keep their order or are alone."""
        places: dict[int, dict[tuple[str, int], None]] = {}
        for name, axis, term in terms:
            for leaf in leaves(term):
                places.setdefault(self.root(id(leaf)), {})[name, axis] = None
        for root, found in places.items():
            members = [self.kept[own] for own in self.parent if self.root(own) == root]
            if len({leaf.size for leaf in members}) == 1 and members[0].size > 1 and not any(map(is_fixed, members)):
                yield members, list(found)
