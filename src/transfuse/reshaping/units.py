"""Units of a network that grow or go together: one order of the traced graph, wherever its axes stand.

Orders that stand side by side in one place (each head has its own order of channels) are one `Units`. What operators ask
of their axes (`Roles`) says how units may be copied: freely, all equally often, or not at all.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count

import numpy as np

from transfuse.tracing.calls import Axes
from transfuse.tracing.terms import Cat, Choice, Leaf, Prod, Term, choices, is_fixed, leaves, normal
from transfuse.tracing.walking import Walked

Maps = Mapping[int, np.ndarray]
"""For units, by number, where each new one comes from: (n',) numbers of old ones."""


@dataclass(frozen=True, kw_only=True)
class Units:
    """One set of units."""

    name: str
    """The first tensor that has them, and the axis."""
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
            name, axis = places[0]
            self.units.append(
                Units(name=f"{name}[{axis}]", size=members[0].size, leaves=tuple(members), tensors=tuple(places))
            )

    def inside(self, term: Term) -> list[int]:
        """Numbers of the units that a term counts."""
        found = (self.number.get(id(leaf)) for leaf in leaves(normal(term)))
        return list(dict.fromkeys(number for number in found if number is not None))

    def positions(self, term: Term, maps: Maps) -> np.ndarray:
        """Where each new position of an axis comes from."""
        return self._combined(normal(term), {n: (own, None) for n, own in maps.items()})[0]

    def shares(self, term: Term, maps: Maps, shares: Maps) -> np.ndarray:
        """The product, at each new position of an axis, of the shares of its units."""
        return self._combined(normal(term), {n: (own, shares.get(n)) for n, own in maps.items()})[1]

    def _combined(
        self, term: Term, maps: Mapping[int, tuple[np.ndarray, np.ndarray | None]]
    ) -> tuple[np.ndarray, np.ndarray]:
        if isinstance(term, Leaf):
            own, share = maps.get(self.number.get(id(term), -1), (None, None))
            own = np.arange(term.size) if own is None else own
            return own, np.ones(len(own)) if share is None else share
        if isinstance(term, Choice):
            return self._combined(normal(term.options[0]), maps)
        if isinstance(term, Cat):
            parts = [self._combined(normal(part), maps) for part in term.parts]
            offsets = np.cumsum([0, *(part.size for part in term.parts)])
            places = [own + offset for (own, _), offset in zip(parts, offsets, strict=False)]
            return np.concatenate(places), np.concatenate([share for _, share in parts])
        assert isinstance(term, Prod)
        places, shares = np.zeros(1, np.int64), np.ones(1)
        for factor in term.factors:
            own, share = self._combined(normal(factor), maps)
            places = (places[:, None] * factor.size + own[None]).reshape(-1)
            shares = (shares[:, None] * share[None]).reshape(-1)
        return places, shares


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
