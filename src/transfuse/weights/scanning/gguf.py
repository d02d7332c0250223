"""GGUF: counts and lengths against the bytes that are left, tensors against the file, chat templates.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, versions 2 and 3. The package gguf 0.19 loops over an
array of 2^40 elements that it reads from a file of 50 bytes.
"""

import math
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.findings import Finding, refused
from transfuse.weights.scanning.settings.templates import template

_SCALARS: Mapping[int, str] = {
    0: "<B",
    1: "<b",
    2: "<H",
    3: "<h",
    4: "<I",
    5: "<i",
    6: "<f",
    7: "<B",
    10: "<Q",
    11: "<q",
    12: "<d",
}
_STRING, _ARRAY = 8, 9
_BLOCKS: Mapping[int, tuple[int, int]] = {
    0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34), 9: (32, 40), 10: (256, 84),
    11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210), 15: (256, 292), 16: (256, 66), 17: (256, 74),
    18: (256, 98), 19: (256, 50), 20: (32, 18), 21: (256, 110), 22: (256, 82), 23: (256, 136), 24: (1, 1), 25: (1, 2),
    26: (1, 4), 27: (1, 8), 28: (1, 8), 29: (256, 56), 30: (1, 2), 34: (256, 54), 35: (256, 66), 39: (32, 17),
    40: (64, 36), 41: (128, 18),
}  # fmt: skip
"""Elements and bytes of one block, by `ggml_type`."""
_LONGEST_NAME = 2**16
_LONGEST_TEXT = 64 * 2**20
_MOST_DIMS = 4
_WINDOW = 2**18
_FETCH = "Fetch the file again; if it stays so, do not open it."


class _Cursor:
    """A place in the file that only moves forward, and never past the end."""

    def __init__(self, content: Content) -> None:
        self.content, self.place, self.window, self.start = content, 0, b"", 0

    def require(self, count: int, what: str) -> None:
        if count > self.content.size - self.place:
            reason = f"{what} would take {count:,} bytes, but only {self.content.size - self.place:,} are left."
            raise refused("gguf-length", reason, byte=self.place, advice=_FETCH)

    def take(self, count: int, what: str) -> bytes:
        self.require(count, what)
        offset = self.place - self.start
        if offset + count > len(self.window):
            self.window, self.start, offset = self.content.read(self.place, max(_WINDOW, count)), self.place, 0
        self.place += count
        return self.window[offset : offset + count]

    def number(self, how: str, what: str) -> Any:
        return struct.unpack(how, self.take(struct.calcsize(how), what))[0]

    def skip(self, count: int, what: str) -> None:
        self.require(count, what)
        self.place += count

    def text(self, most: int, what: str) -> str:
        length = self.number("<Q", what)
        if length > most:
            reason = f"{what} is said to be {length:,} bytes long; {most:,} is the limit."
            raise refused("gguf-length", reason, byte=self.place, advice=_FETCH)
        return self.take(length, what).decode(errors="backslashreplace")


@dataclass(frozen=True, kw_only=True)
class Placed:
    """A tensor of the file."""

    name: str
    kind: int
    """Its `ggml_type`."""
    shape: tuple[int, ...]
    """The fastest axis first."""
    start: int
    """Byte of the file where its data begin."""
    stop: int


def gguf(content: Content) -> Iterator[Finding]:
    """The table of properties, then the table of tensors, then where their data lie."""
    told, _ = read(content)
    for name, value in told.items():
        if "chat_template" in name and isinstance(value, str):
            yield from template(value, name)


def read(content: Content) -> tuple[dict[str, Any], list[Placed]]:
    """Properties but arrays, and tensors in the order of their data. Raises `Refused`."""
    cursor = _Cursor(content)
    cursor.skip(4, "The mark")
    version = cursor.number("<I", "The version")
    if version not in (2, 3):
        reason = f"Its version is {version}; 2 and 3 are read, with the low byte first."
        raise refused("gguf-version", reason, byte=4, advice="Convert it with a current llama.cpp.")
    tensors, properties = cursor.number("<Q", "The count"), cursor.number("<Q", "The count")
    cursor.require(properties * 13 + tensors * 24, f"{properties:,} properties and {tensors:,} tensors")
    told: dict[str, Any] = {}
    for _ in range(properties):
        place, name = cursor.place, cursor.text(_LONGEST_NAME, "A property's name")
        if name in told:
            raise refused("gguf-twice", f"Property '{name[:80]}' is told twice.", where=name[:80], byte=place)
        told[name] = _value(cursor, cursor.number("<I", "A property's type"), name)
    return told, _placed(cursor, tensors, _alignment(told))


def _value(cursor: _Cursor, kind: int, name: str, depth: int = 0) -> Any:
    """A property's value; of an array only that it fits."""
    what = f"Property '{name[:80]}'"
    if kind in _SCALARS:
        return cursor.number(_SCALARS[kind], what)
    if kind == _STRING:
        return cursor.text(_LONGEST_TEXT, what)
    if kind != _ARRAY or depth > 3:
        raise refused("gguf-type", f"{what} has the unknown type {kind}.", name[:80], cursor.place, advice=_FETCH)
    inner, count = cursor.number("<I", what), cursor.number("<Q", what)
    if inner in _SCALARS:
        cursor.skip(count * struct.calcsize(_SCALARS[inner]), what)
        return None
    cursor.require(count * (8 if inner == _STRING else 12), what)
    for _ in range(count):
        if inner == _STRING:
            cursor.skip(cursor.number("<Q", what), what)
        else:
            _value(cursor, inner, name, depth + 1)
    return None


def _alignment(told: Mapping[str, Any]) -> int:
    alignment = told.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= 2**20 or alignment & (alignment - 1):
        reason = f"Its alignment must be a power of two up to 2^20, but is {str(alignment)[:20]}."
        raise refused("gguf-alignment", reason, "general.alignment", advice=_FETCH)
    return alignment


def _placed(cursor: _Cursor, count: int, alignment: int) -> list[Placed]:
    """Each tensor in its place: within the file, aligned, overlapping no other, nothing hidden between."""
    announced = [_announced(cursor, alignment) for _ in range(count)]
    twice = next((name for name, times in Counter(one.name for one in announced).items() if times > 1), None)
    if twice is not None:
        raise refused("gguf-twice", f"Tensor '{twice[:80]}' is told twice.", where=twice[:80])
    data, end = -(-cursor.place // alignment) * alignment, 0
    found = sorted(announced, key=lambda one: (one.start, one.stop))
    for one in found:
        if one.start < end:
            raise _wrong(one.name, "overlaps another one's bytes", data + one.start)
        if data + one.stop > cursor.content.size:
            ends = f"ends at byte {data + one.stop:,} of a file of {cursor.content.size:,}"
            raise _wrong(one.name, ends, data + one.start)
        if one.start - end >= alignment:
            raise _wrong(one.name, f"has {one.start - end:,} bytes before it that belong to none", data + end)
        end = one.stop
    rest = cursor.content.size - max(data + end, cursor.place)
    if (rest >= max(alignment, 32) and found) or (not found and rest > alignment):
        reason = f"{rest:,} bytes after the last tensor belong to none; something may be hidden there."
        raise refused("gguf-tail", reason, byte=cursor.content.size - rest)
    return [replace(one, start=data + one.start, stop=data + one.stop) for one in found]


def _announced(cursor: _Cursor, alignment: int) -> Placed:
    """What the table says of one tensor; its place counts from where the data begin."""
    name = cursor.text(_LONGEST_NAME, "A tensor's name")
    what = f"Tensor '{name[:80]}'"
    dims = cursor.number("<I", what)
    if dims > _MOST_DIMS:
        raise _wrong(name, f"has {dims:,} dimensions; {_MOST_DIMS} is the most", cursor.place)
    shape = tuple(cursor.number("<Q", what) for _ in range(dims))
    kind = cursor.number("<I", what)
    if kind not in _BLOCKS:
        raise _wrong(name, f"has the unknown type {kind}", cursor.place)
    block, size = _BLOCKS[kind]
    count = math.prod(shape)
    if count >= 2**63 or (shape and shape[0] % block):
        raise _wrong(name, f"has the impossible shape {list(shape)} for its type", cursor.place)
    start = cursor.number("<Q", what)
    if start % alignment:
        raise _wrong(name, f"begins at {start:,}, which is no multiple of {alignment}", cursor.place)
    return Placed(name=name, kind=kind, shape=shape, start=start, stop=start + count // block * size)


def _wrong(name: str, what: str, byte: int) -> Exception:
    return refused("gguf-tensor", f"Tensor '{name[:80]}' {what}.", where=name[:80], byte=byte, advice=_FETCH)
