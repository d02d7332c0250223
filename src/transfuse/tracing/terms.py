"""What an axis of a tensor counts, as a term; terms that must share one permutation are unified.

An axis is a `Leaf` (units in an order that may be changed, unless it is fixed), a `Prod` of factors (row-major: heads
times channels), a `Cat` of parts one after another, or a `Choice`: at position i of another axis, the i-th of several
orders (each head has its own order of channels). Whatever cannot be expressed is fixed, which is always sound: it only
permutes less.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias


class Leaf:
    """Units of one kind; an object of its own, which is bound when it turns out to have structure."""

    __slots__ = ("bound", "fixed", "size")

    def __init__(self, size: int, *, fixed: bool = False) -> None:
        self.size, self.fixed = size, fixed
        self.bound: Term | None = None


@dataclass(frozen=True, eq=False)
class Prod:
    """Every combination of its factors, the last the fastest."""

    factors: tuple[Term, ...]

    @property
    def size(self) -> int:
        """Units."""
        return math.prod(factor.size for factor in self.factors)


@dataclass(frozen=True, eq=False)
class Cat:
    """Its parts, one after another."""

    parts: tuple[Term, ...]

    @property
    def size(self) -> int:
        """Units."""
        return sum(part.size for part in self.parts)


@dataclass(frozen=True, eq=False)
class Choice:
    """At position i of `index`, the order `options[i]`."""

    index: Term
    options: tuple[Term, ...]

    @property
    def size(self) -> int:
        """Units."""
        return self.options[0].size


Term: TypeAlias = "Leaf | Prod | Cat | Choice"


class Unclear(Exception):
    """A term cannot be taken apart as asked; whoever asked fixes it."""


def fixed(size: int) -> Leaf:
    """An axis whose order stays as it is."""
    return Leaf(size, fixed=True)


def normal(term: Term) -> Term:
    """The term with everything known put in: products flat, choices between equals gone."""
    if isinstance(term, Leaf):
        return term if term.bound is None else normal(term.bound)
    if isinstance(term, Cat):
        return Cat(tuple(normal(part) for part in term.parts))
    return product(term.factors) if isinstance(term, Prod) else choice(term.index, term.options)


def product(factors: Sequence[Term]) -> Term:
    """A product in normal form."""
    flat: list[Term] = []
    for factor in map(normal, factors):
        flat += factor.factors if isinstance(factor, Prod) else [] if factor.size == 1 else [factor]
    return Prod(tuple(flat)) if len(flat) > 1 else flat[0] if flat else fixed(1)


def choice(index: Term, options: Sequence[Term]) -> Term:
    """A choice in normal form: outside of it stands whatever structure its options share."""
    index, options = normal(index), tuple(map(normal, options))
    first = options[0]
    if all(same(first, other) for other in options):
        return first
    if first.size == 1 or all(is_fixed(option) for option in options):
        return fixed(first.size)
    if isinstance(index, Prod):
        return _by_factors(index, options)
    for kind, inside in ((Prod, "factors"), (Cat, "parts")):
        parts = [getattr(option, inside) for option in options if isinstance(option, kind)]
        shapes = {tuple(part.size for part in own) for own in parts}
        if len(parts) == len(options) and len(shapes) == 1:
            columns = tuple(choice(index, column) for column in zip(*parts, strict=True))
            return product(columns) if kind is Prod else Cat(columns)
    return Choice(index, options)


def _by_factors(index: Prod, options: Sequence[Term]) -> Term:
    """A choice by a product of axes is a choice by the first, of choices by the others."""
    first, rest = index.factors[0], product(index.factors[1:])
    inner = [choice(at(rest, first, i), options[i * rest.size : (i + 1) * rest.size]) for i in range(first.size)]
    return choice(first, inner)


def same(a: Term, b: Term) -> bool:
    """Whether two normal terms are one."""
    if a is b or type(a) is not type(b):
        return a is b
    return _key(a) == _key(b)


def _key(term: Term) -> tuple[object, ...]:
    if isinstance(term, Leaf):
        return (id(term),)
    if isinstance(term, Choice):
        return ("choice", _key(term.index), *map(_key, term.options))
    return (type(term).__name__, *map(_key, inside(term)))


def inside(term: Term) -> tuple[Term, ...]:
    """The terms that a term is made of; a choice's index is not among them, for it counts another axis."""
    if isinstance(term, Leaf):
        return ()
    return term.factors if isinstance(term, Prod) else term.parts if isinstance(term, Cat) else term.options


def leaves(term: Term) -> Iterator[Leaf]:
    """Every leaf of a normal term."""
    if isinstance(term, Leaf):
        yield term
    for part in inside(term):
        yield from leaves(part)


def choices(term: Term) -> Iterator[Choice]:
    """Every choice in a normal term, the outer ones first."""
    if isinstance(term, Choice):
        yield term
    for part in inside(term):
        yield from choices(part)


def is_fixed(term: Term) -> bool:
    """Whether nothing of it may be permuted."""
    return all(leaf.fixed or leaf.size == 1 for leaf in leaves(normal(term)))


def fix(term: Term) -> None:
    """Let nothing of it be permuted."""
    for leaf in leaves(normal(term)):
        leaf.fixed = True


def at(term: Term, index: Term, position: int) -> Term:
    """The term where the axis `index` is at a position."""
    term, index = normal(term), normal(index)
    if isinstance(index, Prod):
        inner = product(index.factors[1:])
        outer, position = divmod(position, inner.size)
        return at(at(term, index.factors[0], outer), at(inner, index.factors[0], outer), position)
    return normal(_at(term, index, position))


def _at(term: Term, index: Term, position: int) -> Term:
    if isinstance(term, Leaf):
        return term
    if isinstance(term, Choice):
        if same(normal(term.index), index):
            return _at(term.options[position], index, position)
        return Choice(_at(term.index, index, position), tuple(_at(o, index, position) for o in term.options))
    parts = tuple(_at(part, index, position) for part in inside(term))
    return Prod(parts) if isinstance(term, Prod) else Cat(parts)


def loose(axes: Sequence[Term]) -> Iterator[Choice]:
    """Choices by an axis that is not among these axes."""
    terms = [normal(axis) for axis in axes]
    present = {id(leaf) for term in terms for leaf in leaves(term)}
    for term in terms:
        for found in choices(term):
            if not all(id(leaf) in present for leaf in leaves(normal(found.index))):
                yield found
