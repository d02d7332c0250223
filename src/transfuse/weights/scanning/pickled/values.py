"""What the symbolic machine has on its stack instead of objects.

Short literals stand for themselves; tuples are tuples; everything else is a `Node` that knows what it holds, but never
is what it stands for. Long text and long bytes are not kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

KEPT = 64
"""Entries of a container that are kept for the rules that look at them; the rest is counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Symbol:
    """A name that the pickle imports, which the lists know."""

    name: str
    """`module.name`."""
    rule: str
    """What may be done with it, a key of `calls.CALLS`; `value` when it may only be handed around."""
    asked: bool = False
    """Whether it belongs to code that a person must agree to."""


class Node:
    """A container or an object: how much it holds, how deep, and its first entries."""

    __slots__ = ("atoms", "closed", "count", "depth", "info", "items", "kind", "nested", "planting")

    def __init__(self, kind: str, info: Any = None) -> None:
        self.kind, self.info = kind, info
        self.items: Sequence[Any] = ()  # lists only once there is something: most memory is spent here
        self.nested: Sequence[Node | Nest] = ()
        self.count = self.atoms = 0
        self.depth = 1
        self.closed = False  # popped: no pickler changes it any more
        self.planting = ""  # a key that would change how an object behaves, when this becomes its state

    def hold(self, items: Sequence[Any], kept: int = KEPT) -> None:
        """Take entries in."""
        self.count += len(items)
        room = kept - len(self.items)
        if room > 0:
            if not self.items:
                self.items = []
            self.items.extend(items[:room])  # type: ignore[attr-defined]
        for item in items:
            cls = item.__class__
            if cls is Node or cls is Nest:
                if not self.nested:
                    self.nested = []
                self.nested.append(item)  # type: ignore[attr-defined]
                if item.depth >= self.depth:
                    self.depth = item.depth + 1
            else:
                self.atoms += len(item) if cls is tuple else 1

    @property
    def whole(self) -> bool:
        """Whether every entry is still there."""
        return len(self.items) == self.count

    def get(self, key: str) -> Any:
        """The last value of a key among the entries kept, or None."""
        found = None
        for name, value in zip(self.items[::2], self.items[1::2], strict=False):
            if name.__class__ is str and name == key:
                found = value
        return found


class Nest(tuple):
    """A tuple that holds containers."""

    atoms: int
    depth: int

    @property
    def nested(self) -> list[Any]:
        """The containers among its entries."""
        return [item for item in self if item.__class__ is Node or item.__class__ is Nest]


def joined(items: Sequence[Any]) -> tuple[Any, ...]:
    """A tuple of stack values."""
    depth = atoms = 0
    for item in items:
        cls = item.__class__
        if cls is Node or cls is Nest:
            depth = max(depth, item.depth)
        else:
            atoms += len(item) if cls is tuple else 1
    if not depth:
        return tuple(items)
    nest = Nest(items)
    nest.atoms, nest.depth = atoms, depth + 1
    return nest


@dataclass(frozen=True, slots=True)
class Opaque:
    """A literal that is not kept, because it is long."""

    kind: str
    length: int
    """Bytes; -1 where nobody counted."""


BIG = Opaque("int", -1)


def is_text(value: Any) -> bool:
    """Whether a value is a literal text."""
    return value.__class__ is str or (value.__class__ is Opaque and value.kind == "text")


def is_bytes(value: Any) -> bool:
    """Whether a value is literal bytes; text stands for the bytes of Python 2."""
    return value.__class__ is bytes or getattr(value, "kind", "") in ("bytes", "bytearray") or is_text(value)


def length_of(value: Any) -> int:
    """Bytes of literal bytes, or -1 where nobody counted."""
    return len(value) if value.__class__ is bytes else value.length if value.__class__ is Opaque else -1


def is_int(value: Any) -> bool:
    """Whether a value is a literal number that fits into 128 bits."""
    return value.__class__ is int
