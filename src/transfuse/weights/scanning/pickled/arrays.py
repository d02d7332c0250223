"""NumPy's types and arrays in a pickle.

The state of a type carries flags that NumPy believes. A type of objects whose flags deny it would take the bytes of the
file for pointers, and a field that reaches past its record reads the memory behind it; both are refused here.
"""

import re
from math import prod
from typing import TYPE_CHECKING, Any

from transfuse.weights.scanning.pickled.values import Node, Symbol, is_bytes, is_int, length_of

if TYPE_CHECKING:
    from transfuse.weights.scanning.pickled.machine import Machine

_CODE = re.compile(r"[<>|=]?(?:([?bBhHiIlLqQefdgFDGpP])|([biufcmMSUVOa])(\d{0,9}))(\[\w{1,8}\])?")
_SIZES = (1, 1, 1, 2, 2, 4, 4, 8, 8, 8, 8, 2, 4, 8, 16, 8, 16, 32, 8, 8)
_OF_LETTER = dict(zip("?bBhHiIlLqQefdgFDGpP", _SIZES, strict=True))
_HAS_OBJECTS = 63  # the flags that NumPy gives to objects: NPY_OBJECT_DTYPE_FLAGS
_OBJECT_FLAGS = 0x01 | 0x02  # counted references, pickled as a list


def _wrong(machine: "Machine", what: str) -> Exception:
    return machine.refuse("pickle-arguments", f"It makes a NumPy {what} from values that no pickler writes.")


def size_of(code: str) -> tuple[int, bool] | None:
    """Bytes of an element and whether it is an object, by NumPy's code of a type; None for what is not known."""
    match = _CODE.fullmatch(code)
    if match is None:
        return None
    letter, kind, count, _ = match.groups()
    if letter:
        return _OF_LETTER[letter], False
    number = int(count or 0)
    if kind in "biufc" and number not in (0, 1, 2, 4, 8, 12, 16, 24, 32):
        return None
    if kind == "O":
        return 8, True
    return (number * 4 if kind == "U" else number or (8 if kind in "mM" else 1 if kind == "b" else 0)), False


def dtype(machine: "Machine", symbol: Symbol, arguments: tuple[Any, ...]) -> Node:
    """`numpy.dtype('f4', False, True)`; info is (bytes of an element, whether it holds objects, code)."""
    code = arguments[0] if arguments else None
    size = size_of(code) if code.__class__ is str else None
    if size is None and isinstance(code, Symbol) and code.name == "numpy.record":
        size, code = (0, False), "V"
    if size is None or len(arguments) > 3:
        raise _wrong(machine, "type")
    return machine.node("dtype", (*size, code))


def build_dtype(machine: "Machine", node: Node, state: Any) -> Node:
    """(version, order, subarray, names, fields, bytes of an element, alignment, flags[, metadata])."""
    if not isinstance(state, tuple) or not 8 <= len(state) <= 9 or not is_int(state[7]):
        raise _wrong(machine, "type")
    size, objects, code = node.info
    subarray, names, fields, claimed, flags = state[2], state[3], state[4], state[5], state[7]
    if code.lstrip("<>|=")[:1] == "V" and (names is not None or subarray is not None):
        size, objects = (_of_subarray if names is None else _of_fields)(machine, subarray, names, fields, claimed)
        if bool(flags & _OBJECT_FLAGS) != objects:
            raise _wrong(machine, "type")
    elif (
        (subarray, names, fields) != (None, None, None)
        or flags not in ((_HAS_OBJECTS,) if objects else (0, 8))
        or claimed not in (-1, size)
    ):
        raise _wrong(machine, "type")
    if size > 2**31:
        raise _wrong(machine, "type")
    node.info = (size, objects, code)
    return used(node)


def used(kind: Node) -> Node:
    """A type that something relies on: NumPy would let a second state change the arrays that were made with it."""
    kind.closed = True
    return kind


def _of_subarray(machine: "Machine", subarray: Any, names: Any, fields: Any, claimed: Any) -> tuple[int, bool]:
    if not isinstance(subarray, tuple) or len(subarray) != 2 or fields is not None:
        raise _wrong(machine, "type")
    base, shape = subarray
    shape = (shape,) if is_int(shape) else shape
    if getattr(base, "kind", "") != "dtype" or not _is_shape(shape) or claimed != base.info[0] * prod(shape):
        raise _wrong(machine, "type")
    return claimed, used(base).info[1]


def _of_fields(machine: "Machine", subarray: Any, names: Any, fields: Any, claimed: Any) -> tuple[int, bool]:
    if fields.__class__ is not Node or fields.kind != "dict" or not fields.whole or not is_int(claimed):
        raise _wrong(machine, "type")
    objects = False
    for entry in fields.items[1::2]:
        if not isinstance(entry, tuple) or not 2 <= len(entry) <= 3 or getattr(entry[0], "kind", "") != "dtype":
            raise _wrong(machine, "type")
        size, has_objects, _ = used(entry[0]).info
        if not is_int(entry[1]) or entry[1] < 0 or entry[1] + size > claimed:
            raise _wrong(machine, "type")
        objects |= has_objects
    return claimed, objects


def _is_shape(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) <= 64 and all(is_int(n) and n >= 0 for n in value)


def array(machine: "Machine", symbol: Symbol, arguments: tuple[Any, ...]) -> Node:
    """An empty array; BUILD fills it. Any other shape than (0,) would be memory that a number claims."""
    cls, shape, *_ = (*arguments, None, None)
    if not isinstance(cls, Symbol) or shape != (0,) or (cls.name != "numpy.ndarray" and not cls.asked):
        raise _wrong(machine, "array")
    return machine.node("array")


def build_array(machine: "Machine", node: Node, state: Any) -> Node:
    """(version, shape, type, order, bytes or list of objects)."""
    if isinstance(state, tuple) and len(state) == 2 and isinstance(state[0], tuple):
        state = state[0]  # a subclass keeps its attributes beside
    if not isinstance(state, tuple) or len(state) not in (4, 5):
        raise _wrong(machine, "array")
    shape, kind, data = state[-4], state[-3], state[-1]
    if not _is_shape(shape) or getattr(kind, "kind", "") != "dtype":
        raise _wrong(machine, "array")
    node.closed = True
    if used(kind).info[1]:
        if getattr(data, "kind", "") != "list" or data.count != prod(shape):
            raise _wrong(machine, "array")
    elif not is_bytes(data) or length_of(data) not in (-1, prod(shape) * kind.info[0]):
        raise _wrong(machine, "array")
    node.hold([data])
    return node


def scalar(machine: "Machine", symbol: Symbol, arguments: tuple[Any, ...]) -> Node:
    """One number: (type, bytes)."""
    if len(arguments) != 2 or getattr(arguments[0], "kind", "") != "dtype":
        raise _wrong(machine, "number")
    if not used(arguments[0]).info[1] and not is_bytes(arguments[1]):
        raise _wrong(machine, "number")
    return machine.node("plain", symbol)


def frombuffer(machine: "Machine", symbol: Symbol, arguments: tuple[Any, ...]) -> Node:
    """(bytes, type, shape, order)."""
    if not 3 <= len(arguments) <= 5 or not is_bytes(arguments[0]) or getattr(arguments[1], "kind", "") != "dtype":
        raise _wrong(machine, "array")
    if used(arguments[1]).info[1] or not _is_shape(arguments[2]):
        raise _wrong(machine, "array")
    return machine.node("array")
