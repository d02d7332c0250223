"""The instructions of a pickle that do something with what lies on the stack of the machine."""

import re
import struct
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from transfuse.weights.scanning.findings import refused
from transfuse.weights.scanning.pickled.calls import built, called
from transfuse.weights.scanning.pickled.containers import (
    DEEPEST,
    add_items,
    append,
    as_tuple,
    push,
    set_items,
    short_tuple,
)
from transfuse.weights.scanning.pickled.literals import broken, exactly, line
from transfuse.weights.scanning.pickled.values import Node, Symbol

if TYPE_CHECKING:
    from transfuse.weights.scanning.pickled.machine import Machine

_MEMO = 5_000_000
_GAP = 1_000  # memo numbers that may be left out
_NUMBER_TO_C = re.compile(rb"[\s+\-]*\d[\d_]*\s*")
_IDENTIFIERS = re.compile(r"[\w.<>]{1,300}")
_MISSING = object()


def _mark(machine: "Machine") -> None:
    machine.marked.append(machine.stack)
    machine.stack = []
    if len(machine.marked) > 2 * DEEPEST:
        raise machine.refuse("pickle-depth", "Its marks lie too deep in each other.")


def _one_append(machine: "Machine") -> None:
    item = machine.stack.pop()
    append(machine, [item])


def _one_item(machine: "Machine") -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    set_items(machine, [key, value])


def _many_appends(machine: "Machine") -> None:
    append(machine, machine.since_mark())


def _many_items(machine: "Machine") -> None:
    set_items(machine, machine.since_mark())


def _pop(machine: "Machine") -> None:
    if machine.stack:
        _close([machine.stack.pop()])
    else:
        _close(machine.since_mark())


def _close(items: list[Any]) -> None:
    for item in items:
        if item.__class__ is Node:
            item.closed = True


def _put(machine: "Machine", index: int) -> None:
    memo, value = machine.memo, machine.stack[-1]
    if index == len(memo):
        memo.append(value)
    elif 0 <= index < len(memo):
        memo[index] = value
    elif 0 < index <= len(memo) + _GAP:
        memo.extend([_MISSING] * (index - len(memo)))
        memo.append(value)
    else:
        raise machine.refuse("pickle-memo", f"Its pickle claims {index} remembered objects; it has {len(memo)}.")
    if len(memo) > _MEMO:
        raise machine.refuse("pickle-size", f"It remembers more than {_MEMO} objects.")


def _get(machine: "Machine", index: int) -> None:
    value = machine.memo[index] if 0 <= index < len(machine.memo) else _MISSING
    if value is _MISSING:
        raise broken(machine, f"object {index} was never remembered")
    machine.stack.append(value)


def _index(machine: "Machine") -> int:
    text = line(machine)
    try:
        int(text[:20])
    except ValueError:
        raise broken(machine, "the number of a remembered object is none") from None
    if not text.isdigit() or len(text) > 12:
        if _NUMBER_TO_C.fullmatch(text):
            raise machine.refuse("pickle-memo", "The number of a remembered object is none that a pickler writes.")
        raise broken(machine, "the number of an object is none")
    return int(text)


def _global(machine: "Machine") -> None:
    place = machine.stream.tell() - 1
    module, name = line(machine).decode(), line(machine).decode()
    machine.stack.append(_symbol(machine, module, name, place))


def _stack_global(machine: "Machine") -> None:
    place = machine.stream.tell() - 1
    name, module = machine.stack.pop(), machine.stack.pop()
    if module.__class__ is not str or name.__class__ is not str:
        raise machine.refuse("pickle-computed-name", "Its pickle computes the name of what it imports.")
    machine.stack.append(_symbol(machine, module, name, place))


def _symbol(machine: "Machine", module: str, name: str, place: int) -> Symbol:
    if not _IDENTIFIERS.fullmatch(module) or not _IDENTIFIERS.fullmatch(name):
        raise broken(machine, f"{ascii(module)[:60]} {ascii(name)[:60]} is no name")
    machine.names += 1
    symbol = machine.look_up(module, name)
    if symbol is None:
        raise refused(
            "pickle-name",
            f"Opening it would use {module}.{name}, which no file of weights needs: it may run any code.",
            machine.where,
            place,
        )
    if symbol.asked:
        machine.asked.setdefault(symbol.name, place)
    return symbol


def _instance(machine: "Machine") -> None:
    machine.since_mark()
    module, name = line(machine).decode(), line(machine).decode()
    _symbol(machine, module, name, machine.stream.tell())
    raise machine.refuse("pickle-instruction", f"It makes {module}.{name} by an instruction that nobody writes today.")


def _object(machine: "Machine") -> None:
    machine.since_mark()
    raise machine.refuse("pickle-instruction", "It calls by the instruction OBJ, which nobody writes today.")


def _extension(machine: "Machine") -> None:
    raise machine.refuse("pickle-extension", "It imports through the extension registry, which hides the name.")


def _buffer(machine: "Machine") -> None:
    raise machine.refuse("pickle-buffer", "It expects buffers from outside the file.")


def _double(machine: "Machine") -> None:
    machine.stack[-1]
    raise machine.refuse("pickle-instruction", "It has the instruction DUP, which no pickler writes.")


def _reduce(machine: "Machine") -> None:
    arguments, function = machine.stack.pop(), machine.stack.pop()
    machine.stack.append(called(machine, function, arguments))


def _new(machine: "Machine") -> None:
    arguments, cls = machine.stack.pop(), machine.stack.pop()
    machine.stack.append(called(machine, cls, arguments, new=True))


def _new_with_names(machine: "Machine") -> None:
    names, arguments, cls = machine.stack.pop(), machine.stack.pop(), machine.stack.pop()
    if not isinstance(cls, Symbol) or not cls.asked or names.__class__ is not Node:
        raise machine.refuse("pickle-call", "It makes an object by keyword that weights never need.")
    machine.stack.append(called(machine, cls, arguments, new=True))


def _build(machine: "Machine") -> None:
    state, target = machine.stack.pop(), machine.stack.pop()
    if target.__class__ is Node and target.closed:
        raise machine.refuse("pickle-order", "Its pickle changes an object that was finished: no pickler does that.")
    machine.stack.append(machine.finished(machine, built(machine, target, state)))


def _persistent(machine: "Machine") -> None:
    if machine.persistent is None:
        raise machine.refuse("pickle-persistent", "It refers to objects outside itself.")
    machine.stack.append(machine.persistent(machine, machine.stack.pop()))


def _persistent_line(machine: "Machine") -> None:
    raise machine.refuse("pickle-persistent", "It refers to objects outside itself.")


def _protocol(machine: "Machine") -> None:
    if exactly(machine, 1)[0] > 5:
        raise broken(machine, "its protocol is not known")


def _frame(machine: "Machine") -> None:
    (length,) = struct.unpack("<Q", exactly(machine, 8))
    place = machine.stream.tell()
    if place < machine.frame or length > machine.end - place:
        raise machine.refuse("pickle-length", f"Its pickle claims a frame of {length} bytes that is not there.")
    machine.frame = place + length


STEPS: Mapping[bytes, Callable[["Machine"], None]] = {
    b"(": _mark,
    b"0": _pop,
    b"1": lambda m: _close(m.since_mark()),
    b"2": _double,
    b"t": lambda m: as_tuple(m, m.since_mark()),
    b")": lambda m: m.stack.append(()),
    b"\x85": lambda m: short_tuple(m, 1),
    b"\x86": lambda m: short_tuple(m, 2),
    b"\x87": lambda m: short_tuple(m, 3),
    b"]": lambda m: m.stack.append(m.node("list")),
    b"}": lambda m: m.stack.append(m.node("dict")),
    b"\x8f": lambda m: m.stack.append(m.node("set")),
    b"l": lambda m: push(m, "list", m.since_mark()),
    b"d": lambda m: push(m, "dict", m.since_mark()),
    b"\x91": lambda m: push(m, "frozenset", m.since_mark()),
    b"a": _one_append,
    b"e": _many_appends,
    b"s": _one_item,
    b"u": _many_items,
    b"\x90": add_items,
    b"p": lambda m: _put(m, _index(m)),
    b"q": lambda m: _put(m, exactly(m, 1)[0]),
    b"r": lambda m: _put(m, struct.unpack("<I", exactly(m, 4))[0]),
    b"\x94": lambda m: _put(m, len(m.memo)),
    b"g": lambda m: _get(m, _index(m)),
    b"h": lambda m: _get(m, exactly(m, 1)[0]),
    b"j": lambda m: _get(m, struct.unpack("<I", exactly(m, 4))[0]),
    b"c": _global,
    b"\x93": _stack_global,
    b"i": _instance,
    b"o": _object,
    b"\x82": _extension,
    b"\x83": _extension,
    b"\x84": _extension,
    b"\x97": _buffer,
    b"\x98": _buffer,
    b"R": _reduce,
    b"\x81": _new,
    b"\x92": _new_with_names,
    b"b": _build,
    b"Q": _persistent,
    b"P": _persistent_line,
    b"\x80": _protocol,
    b"\x95": _frame,
}
