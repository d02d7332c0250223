"""The permutations under which a network's function stays as it is, as plain data.

A `Group` is a set of units that may change places; one with a parent has an order of its own at each position of the
parent (channels within a head). A `Block` is a view of a tensor whose axes are groups, or None for axes that stay.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from transfuse.tracing.calls import Axes, operator_of
from transfuse.tracing.operators import CONTRACTIONS
from transfuse.tracing.terms import (
    Cat,
    Choice,
    Leaf,
    Prod,
    Term,
    at,
    choices,
    fix,
    fixed,
    is_fixed,
    leaves,
    normal,
)
from transfuse.tracing.unifying import collapse, unify
from transfuse.tracing.walking import Walked, walked

Step = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Units that may change places."""

    name: str
    """The first tensor that has it, and the axis."""
    size: int
    parent: int | None = None
    """Number of the group at each of whose positions this one has an order of its own."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """A view of a tensor, with the group of each of its axes."""

    tensor: str
    steps: tuple[Step, ...]
    """Methods of a tensor with their arguments, which make the view."""
    groups: tuple[int | None, ...]

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """The view of a tensor; writing into it writes into the tensor."""
        for method, *arguments in self.steps:
            tensor = getattr(tensor, method)(*arguments)
        return tensor


@dataclass(frozen=True, kw_only=True)
class Symmetry:
    """What may be permuted in a network, and what not."""

    groups: tuple[Group, ...] = ()
    blocks: tuple[Block, ...] = ()
    """Of parameters and buffers; what no block covers stays as it is."""
    seen: tuple[Block, ...] = ()
    """Of the activations that layers sum over, by the graph's names."""
    unknown: tuple[str, ...] = ()
    """Operators that were not understood, and groups that failed the proof: there, the order stays."""
    graph: Any = None
    """The traced graph (`ExportedProgram`), for batches of one shape."""

    def top(self, number: int) -> int:
        """The group itself, or the one at whose positions it has its orders."""
        parent = self.groups[number].parent
        return number if parent is None else parent

    @property
    def tops(self) -> list[int]:
        """Groups that depend on no other."""
        return [i for i, group in enumerate(self.groups) if group.parent is None]


class _Again(Exception):
    """Terms had to be simplified; begin anew."""


def symmetry_of(network: nn.Module, sample: torch.Tensor) -> Symmetry:
    """Find the permutation groups of a network from its graph, for batches like the sample. Raises `Untraceable`."""
    found = walked(network, sample)
    while True:
        try:
            return _Reading(found).read()
        except _Again:
            continue


class _Reading:
    """Numbers for leaves while blocks are read off terms; private."""

    def __init__(self, found: Walked) -> None:
        self.found = found
        self.groups: list[Group] = []
        self.numbers: dict[tuple[int, ...], int] = {}
        self.homes: dict[int, tuple[int, ...]] = {}
        self.members: dict[tuple[int, ...], tuple[Term, ...]] = {}

    def read(self) -> Symmetry:
        blocks = [b for name, axes in self.found.states.items() for b in self._blocks(name, axes)]
        useful = {g for block in blocks for g in block.groups if g is not None}
        seen = [b for name in _consumed(self.found) for b in self._blocks(name, self.found.nodes[name])]
        seen = [b for b in seen if all(g is None or g in useful for g in b.groups)]
        return Symmetry(
            groups=tuple(self.groups),
            blocks=tuple(block for block in blocks if any(g is not None for g in block.groups)),
            seen=tuple(block for block in seen if any(g is not None for g in block.groups)),
            unknown=self.found.unknown,
            graph=self.found.program,
        )

    def _blocks(self, name: str, axes: Axes) -> Iterator[Block]:
        for steps, terms in _plain((), [normal(axis) for axis in axes]):
            present = {id(term) for term in terms if isinstance(term, Leaf)}
            groups = [self._number(f"{name}[{i}]", term, present) for i, term in enumerate(terms)]
            yield Block(tensor=name, steps=steps, groups=tuple(groups))

    def _number(self, name: str, term: Term, present: set[int]) -> int | None:
        """The group of an axis; None when it stays as it is."""
        if term.size == 1 or is_fixed(term):
            return None
        if isinstance(term, Leaf):
            return self._group((id(term),), (term,), name, None)
        assert isinstance(term, Choice)
        index, options = normal(term.index), term.options
        plain = isinstance(index, Leaf) and all(isinstance(o, Leaf) and not o.fixed for o in options)
        if not plain or id(index) not in present or len({id(o) for o in options}) < len(options):
            collapse(term)
            raise _Again
        parent = self._group((id(index),), (index,), name, None)
        return self._group(tuple(map(id, options)), options, name, parent)

    def _group(self, own: tuple[int, ...], members: tuple[Term, ...], name: str, parent: int | None) -> int:
        """Each leaf belongs to one group, alone or as one of several orders; else these orders become one."""
        homes = {self.homes.setdefault(leaf, own) for leaf in own}
        if homes != {own}:
            for home in homes | {own}:
                first, *others = self.members.get(home, members)
                for other in others:
                    unify(first, other)
            raise _Again
        self.members[own] = members
        if own not in self.numbers:
            self.numbers[own] = len(self.groups)
            self.groups.append(Group(name=name, size=members[0].size, parent=parent))
        elif self.groups[self.numbers[own]].parent != parent:
            for member in members:
                fix(member)
            raise _Again
        return self.numbers[own]


def _plain(steps: tuple[Step, ...], terms: list[Term]) -> Iterator[tuple[tuple[Step, ...], list[Term]]]:
    """Views on which every axis is a leaf, or a choice of leaves."""
    for dim, term in enumerate(terms):
        before, after = terms[:dim], terms[dim + 1 :]
        if is_fixed(term):
            if not _is_asked(term, terms):
                terms = [*before, fixed(term.size), *after]
            elif isinstance(term, Leaf):
                for i in range(term.size):
                    rest = [at(other, term, i) for other in (*before, *after)]
                    yield from _plain((*steps, ("select", dim, i)), rest)
                return
        if isinstance(term, Prod) and terms[dim] is term:
            sizes = tuple(factor.size for factor in term.factors)
            yield from _plain((*steps, ("unflatten", dim, sizes)), [*before, *term.factors, *after])
            return
        if isinstance(term, Cat) and terms[dim] is term:
            start = 0
            for part in term.parts:
                yield from _plain((*steps, ("narrow", dim, start, part.size)), [*before, normal(part), *after])
                start += part.size
            return
    yield steps, terms


def _is_asked(term: Term, terms: list[Term]) -> bool:
    """Whether the order of another axis depends on the position on this one."""
    own = {id(leaf) for leaf in leaves(term)}
    return any(id(leaf) in own for other in terms for c in choices(other) for leaf in leaves(normal(c.index)))


def _consumed(found: Walked) -> list[str]:
    """Names of the nodes that layers sum over."""
    names: dict[str, None] = {}
    for node in found.program.graph.nodes:
        if node.op == "call_function" and operator_of(node) in CONTRACTIONS:
            for given in node.all_input_nodes:
                if given.op == "call_function" and given.name in found.nodes:
                    names[given.name] = None
    return list(names)


def without(symmetry: Symmetry, numbers: set[int], why: str) -> Symmetry:
    """The symmetry without some groups, which are named."""
    gone = numbers | {i for i, group in enumerate(symmetry.groups) if group.parent in numbers}

    def cleared(blocks: tuple[Block, ...]) -> tuple[Block, ...]:
        kept = (replace(b, groups=tuple(None if g in gone else g for g in b.groups)) for b in blocks)
        return tuple(block for block in kept if any(g is not None for g in block.groups))

    named = tuple(f"{symmetry.groups[i].name}: {why}" for i in sorted(numbers))
    return replace(
        symmetry, blocks=cleared(symmetry.blocks), seen=cleared(symmetry.seen), unknown=(*symmetry.unknown, *named)
    )


def blocks_by_tensor(blocks: tuple[Block, ...]) -> Mapping[str, list[Block]]:
    """Blocks of each tensor."""
    found: dict[str, list[Block]] = {}
    for block in blocks:
        found.setdefault(block.tensor, []).append(block)
    return found
