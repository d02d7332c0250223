"""NumPy's files: `.npy`, whose header is a literal of Python, and `.npz`, a zip of them.

Format: `numpy/lib/format.py`, versions 1 to 3. An array of objects is a pickle.
"""

import ast
from collections.abc import Iterator
from math import prod
from typing import Any

from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.findings import Finding, refused
from transfuse.weights.scanning.pickled.arrays import size_of
from transfuse.weights.scanning.pickled.machine import Machine
from transfuse.weights.scanning.pickled.pickles import walked

_LONGEST_HEADER = 1_000_000
_LONGEST_PARSED = 10_000  # as NumPy itself, which warns of what ast may do with more
_DEEPEST = 40


def npy(content: Content) -> Iterator[Finding]:
    """One array."""
    header, start = _header(content)
    shape = header.get("shape")
    if set(header) != {"descr", "fortran_order", "shape"} or not isinstance(header["fortran_order"], bool):
        raise _broken("its header has other entries than an array's")
    if not isinstance(shape, tuple) or not all(type(number) is int and number >= 0 for number in shape):
        raise _broken("its shape is none")
    size, objects = _size(header["descr"], 0)
    if objects:
        yield from _objects(content, start)
    elif start + prod(shape) * size != content.size:
        raise refused(
            "numpy-size",
            f"Its header claims {prod(shape) * size} bytes and {content.size - start} follow.",
            advice="Fetch it again.",
        )


def _header(content: Content) -> tuple[dict[str, Any], int]:
    head = content.read(0, 12)
    if len(head) < 12 or head[6] not in (1, 2, 3) or head[7] != 0:
        raise _broken("its version is not known")
    start = 10 if head[6] == 1 else 12
    length = int.from_bytes(head[8:start], "little")
    if length > min(_LONGEST_HEADER, content.size - start):
        raise _broken(f"its header claims {length} bytes")
    text = content.read(start, length).decode("latin-1" if head[6] < 3 else "utf-8").strip()
    nested = max(text.count("("), text.count("["), text.count("{"))
    if len(text) > _LONGEST_PARSED * 10 or (nested > _DEEPEST and len(text) > _LONGEST_PARSED):
        raise _broken("its header is too long to be read")
    try:
        header = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        raise _broken("its header is no literal") from None
    if not isinstance(header, dict):
        raise _broken("its header is no dictionary")
    return header, start + length


def _broken(what: str) -> Exception:
    return refused("numpy-broken", f"Its array is broken: {what}.", advice="Fetch it again.")


def _size(described: Any, depth: int) -> tuple[int, bool]:
    """Bytes of an element, and whether there are objects in it."""
    if isinstance(described, str):
        size = size_of(described)
        if size is None:
            raise _broken(f"its type {ascii(described)[:40]} is not known")
        return size
    if isinstance(described, tuple) and len(described) == 2 and depth < _DEEPEST:
        size_1, objects = _size(described[0], depth + 1)
        return size_1 * _count(described[1]), objects
    if not isinstance(described, list) or depth >= _DEEPEST:
        raise _broken("its type is none")
    total, any_objects = 0, False
    for field in described:
        if not isinstance(field, tuple) or len(field) not in (2, 3):
            raise _broken("a field of its type is none")
        size_1, objects = _size(field[1], depth + 1)
        total += size_1 * (_count(field[2]) if len(field) == 3 else 1)
        any_objects |= objects
    return total, any_objects


def _count(shape: Any) -> int:
    numbers = shape if isinstance(shape, tuple) else (shape,)
    if not all(type(number) is int and number >= 0 for number in numbers):
        raise _broken("the shape of a field is none")
    return prod(numbers)


def _objects(content: Content, start: int) -> Iterator[Finding]:
    content.stream.seek(start)
    machine = Machine(content.stream, content.size)
    yield from walked(machine)
    if content.stream.tell() != content.size:
        raise machine.refuse("pickle-trailing", "Bytes follow the pickle of the array, which nothing accounts for.")
    yield Finding(
        verdict="ask",
        rule="numpy-objects",
        reason="It holds Python objects instead of numbers, as a pickle; NumPy opens it only with allow_pickle.",
        byte=start,
        advice="The objects in it are harmless; ask for an array of numbers or of text all the same.",
    )
