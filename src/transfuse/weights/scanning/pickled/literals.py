"""The instructions of a pickle that push a literal: read within the bytes that are there, kept when short.

Instruction set: Python's `pickletools`, protocols 0 to 5.
"""

import codecs
import re
import struct
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from transfuse.weights.scanning.findings import refused
from transfuse.weights.scanning.pickled.inside import LONGEST, carried
from transfuse.weights.scanning.pickled.values import BIG, Node, Opaque

if TYPE_CHECKING:
    from transfuse.weights.scanning.pickled.machine import Machine

_KEPT_TEXT = 128  # longer than any name that the lists know
_KEPT_BYTES = 64
_LONGEST_LINE = 2**24
_NUMBER_TO_C = re.compile(rb"[\s\d+\-_a-fA-FxXoO]*\d[\s\d_a-fA-FxXoO]*")
_FLOAT_TO_C = re.compile(rb"[+-]?([\d_]+\.?[\d_]*|\.\d[\d_]*)([eE][+-]?\d+)?|[+-]?(inf|infinity|nan)", re.IGNORECASE)


def broken(machine: "Machine", what: str) -> Exception:
    """The refusal of a stream that is no pickle."""
    return refused("pickle-broken", f"Its pickle is broken: {what}.", machine.where, machine.stream.tell())


def exactly(machine: "Machine", count: int) -> bytes:
    """The next bytes, all of them."""
    data = machine.read(count)
    if len(data) != count:
        raise broken(machine, f"{count} bytes are claimed, {len(data)} are left")
    return data


def skip(machine: "Machine", count: int) -> None:
    """Pass over bytes that exist."""
    place = machine.stream.tell()
    if count > machine.end - place:
        raise refused(
            "pickle-length",
            f"Its pickle claims {count} bytes where {machine.end - place} are left.",
            machine.where,
            place,
        )
    machine.stream.seek(place + count)


def line(machine: "Machine") -> bytes:
    """The text up to the end of the line, as the protocols of Python 1 wrote arguments."""
    text = machine.stream.readline(_LONGEST_LINE)
    if len(text) == _LONGEST_LINE:
        raise machine.refuse("pickle-size", "It has a line that is too long to be read.")
    if text[-1:] != b"\n":
        raise broken(machine, "a line does not end")
    return text[:-1]


def _text_of(data: bytes, encoding: str) -> Any:
    return data.decode(encoding, "surrogatepass" if encoding == "utf-8" else "strict")


def _long_or_text(machine: "Machine", count: int, encoding: str) -> Any:
    if count > LONGEST:
        skip(machine, count)
        return Opaque("text", -1)  # in letters it may be less
    data = exactly(machine, count)
    carried(machine, data)
    return _text_of(data, encoding) if count <= _KEPT_TEXT else Opaque("text", -1)


def _long_or_bytes(machine: "Machine", count: int) -> Any:
    if count > LONGEST:
        skip(machine, count)
        return Opaque("bytes", count)
    data = exactly(machine, count)
    carried(machine, data)
    return data if count <= _KEPT_BYTES else Opaque("bytes", count)


def _number(data: bytes) -> Any:
    return int.from_bytes(data, "little", signed=True) if len(data) <= 16 else BIG


def _int_line(machine: "Machine") -> Any:
    text = line(machine)
    return text == b"01" if text in (b"00", b"01") else _decimal(machine, text)


def _decimal(machine: "Machine", text: bytes) -> Any:
    """The number, which every pickler writes in plain digits; a reader takes more."""
    text = text.removesuffix(b"L")
    if text.removeprefix(b"-").isdigit():
        return int(text) if len(text) <= 40 else BIG
    if _NUMBER_TO_C.fullmatch(text):
        raise machine.refuse("pickle-number", "It has a number that no pickler writes.")
    raise broken(machine, "a number is none")


def _float_line(machine: "Machine") -> float:
    if not _FLOAT_TO_C.fullmatch(line(machine).strip()):
        raise broken(machine, "a number is none")
    return 0.0  # no rule looks at it


def _string_line(machine: "Machine") -> Any:
    text = line(machine).strip()
    if len(text) < 2 or text[:1] != text[-1:] or text[:1] not in (b"'", b'"'):
        raise broken(machine, "a text has no quotes")
    if len(text) > 8 * _KEPT_TEXT:
        return Opaque("text", -1)
    try:
        return codecs.escape_decode(text[1:-1])[0].decode("latin-1")  # type: ignore[attr-defined]
    except ValueError:
        raise broken(machine, "a text has a wrong escape") from None


def _unicode_line(machine: "Machine") -> Any:
    text = line(machine)
    if len(text) > 8 * _KEPT_TEXT:
        return Opaque("text", -1)
    try:
        return text.decode("raw-unicode-escape")
    except ValueError:
        raise broken(machine, "a text has a wrong escape") from None


def _bytearray(machine: "Machine") -> Node:
    skip(machine, _length(machine, "<Q"))
    return machine.node("bytearray")


def _length(machine: "Machine", code: str) -> int:
    (length,) = struct.unpack(code, exactly(machine, struct.calcsize(code)))
    if length < 0:
        raise broken(machine, "a length is negative")
    return length


_int4 = struct.Struct("<i").unpack
_int2 = struct.Struct("<H").unpack
_float8 = struct.Struct(">d").unpack

LITERALS: Mapping[bytes, Callable[["Machine"], Any]] = {
    b"N": lambda m: None,
    b"\x88": lambda m: True,
    b"\x89": lambda m: False,
    b"I": _int_line,
    b"J": lambda m: _int4(exactly(m, 4))[0],
    b"K": lambda m: exactly(m, 1)[0],
    b"M": lambda m: _int2(exactly(m, 2))[0],
    b"L": lambda m: _decimal(m, line(m)),
    b"\x8a": lambda m: _number(exactly(m, exactly(m, 1)[0])),
    b"\x8b": lambda m: _number_of(_long_or_bytes(m, _length(m, "<i"))),
    b"F": _float_line,
    b"G": lambda m: _float8(exactly(m, 8))[0],
    b"S": _string_line,
    b"T": lambda m: _long_or_text(m, _length(m, "<i"), "latin-1"),
    b"U": lambda m: _long_or_text(m, exactly(m, 1)[0], "latin-1"),
    b"V": _unicode_line,
    b"X": lambda m: _long_or_text(m, _length(m, "<I"), "utf-8"),
    b"\x8c": lambda m: _long_or_text(m, exactly(m, 1)[0], "utf-8"),
    b"\x8d": lambda m: _long_or_text(m, _length(m, "<Q"), "utf-8"),
    b"B": lambda m: _long_or_bytes(m, _length(m, "<I")),
    b"C": lambda m: _long_or_bytes(m, exactly(m, 1)[0]),
    b"\x8e": lambda m: _long_or_bytes(m, _length(m, "<Q")),
    b"\x96": _bytearray,
}
"""Instruction: the value that it pushes."""


def _number_of(data: Any) -> Any:
    return BIG if data.__class__ is Opaque else _number(data)
