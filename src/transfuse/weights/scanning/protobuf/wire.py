"""Protocol-buffer messages walked field by field, without a schema and without reading what is skipped.

Encoding: https://protobuf.dev/programming-guides/encoding (a tag, then a varint, 8 bytes, 4 bytes or a length and that
many bytes). Deprecated groups are refused: no format of weights has them. Every length is checked against its parent.
"""

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.findings import refused

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_WINDOW = 2**16
_MOST_FIELDS = 5_000_000
_DEPTH = 90  # protobuf's own readers stop at 100


class _Reader:
    """Bytes of a content by offset, through one window; counts the fields that are still allowed."""

    def __init__(self, content: Content) -> None:
        self.content, self.window, self.start, self.left = content, b"", 0, _MOST_FIELDS

    def read(self, start: int, count: int) -> bytes:
        if count > _WINDOW:
            return self.content.read(start, count)
        offset = start - self.start
        if offset < 0 or offset + count > len(self.window):
            self.window, self.start, offset = self.content.read(start, _WINDOW), start, 0
        return self.window[offset : offset + count]


@dataclass(frozen=True, kw_only=True)
class Message:
    """The bytes from `start` to `stop` of a content, to be read as a message or as a string."""

    reader: _Reader = field(repr=False)
    start: int
    stop: int
    depth: int = 0

    @property
    def size(self) -> int:
        """Bytes."""
        return self.stop - self.start

    def bytes(self, most: int = 2**24) -> bytes:
        """The bytes themselves. Raises `Refused` beyond `most`."""
        if self.size > most:
            raise refused("wire-length", f"A text of {self.size:,} bytes is longer than {most:,}.", byte=self.start)
        return self.reader.read(self.start, self.size)

    def text(self, most: int = 2**20) -> str:
        """A string; bytes that are no UTF-8 stay visible."""
        return self.bytes(most).decode(errors="backslashreplace")

    def fields(self) -> Iterator[tuple[int, int, "int | Message"]]:
        """Number, wire type and value of each field; what has a length comes as a `Message`."""
        if self.depth > _DEPTH:
            raise refused("wire-depth", f"Messages lie more than {_DEPTH} deep in each other.", byte=self.start)
        place = self.start
        while place < self.stop:
            self.reader.left -= 1
            if self.reader.left < 0:
                raise refused("wire-fields", f"It has more than {_MOST_FIELDS:,} fields.", byte=place)
            tag, place = self._varint(place)
            number, kind = tag >> 3, tag & 7
            if number == 0:
                raise _broken("a field has the number 0", place)
            value, place = self._value(kind, place)
            yield number, kind, value

    def numbers(self) -> list[int]:
        """The varints of a packed field."""
        found, place = [], self.start
        while place < self.stop:
            self.reader.left -= 1
            if self.reader.left < 0:
                raise refused("wire-fields", f"It has more than {_MOST_FIELDS:,} numbers.", byte=place)
            number, place = self._varint(place)
            found.append(number)
        return found

    def _value(self, kind: int, place: int) -> "tuple[int | Message, int]":
        if kind == VARINT:
            return self._varint(place)
        if kind == BYTES:
            size, place = self._varint(place)
            if size > self.stop - place:
                raise _broken(f"a field of {size:,} bytes does not fit into what is left", place)
            inner = Message(reader=self.reader, start=place, stop=place + size, depth=self.depth + 1)
            return inner, place + size
        if kind in (FIXED32, FIXED64):
            size = 4 if kind == FIXED32 else 8
            if size > self.stop - place:
                raise _broken("a number is cut off", place)
            (number,) = struct.unpack("<I" if size == 4 else "<Q", self.reader.read(place, size))
            return number, place + size
        raise _broken(f"a field has the unknown type {kind}", place)

    def _varint(self, place: int) -> tuple[int, int]:
        number = 0
        for shift, byte in enumerate(self.reader.read(place, min(10, self.stop - place))):
            number |= (byte & 127) << 7 * shift
            if byte < 128:
                return number & (2**64 - 1), place + shift + 1
        raise _broken("a number is cut off", place)


def message(content: Content) -> Message:
    """A whole content as one message."""
    return Message(reader=_Reader(content), start=0, stop=content.size)


def signed(number: int) -> int:
    """A varint as the signed integer that the schema meant."""
    return number - 2**64 if number >= 2**63 else number


def grouped(part: Message, wanted: Iterable[int]) -> dict[int, list["int | Message"]]:
    """Values of the wanted fields by number; all others are stepped over."""
    found: dict[int, list[int | Message]] = {number: [] for number in wanted}
    for number, _, value in part.fields():
        if number in found:
            found[number].append(value)
    return found


def messages(values: Iterable["int | Message"]) -> Iterator[Message]:
    """Values that must be messages or strings."""
    for value in values:
        if not isinstance(value, Message):
            raise refused("broken", "A field holds a number where a message must be.")
        yield value


def integers(values: Iterable["int | Message"]) -> Iterator[int]:
    """Values of a repeated integer, packed or not."""
    for value in values:
        if isinstance(value, Message):
            yield from value.numbers()
        else:
            yield value


def text(values: Iterable["int | Message"]) -> str:
    """The last of a string field's values, as readers take it; empty when there is none."""
    last = ""
    for part in messages(values):
        last = part.text()
    return last


def _broken(what: str, place: int) -> Exception:
    return refused("broken", f"It is broken: {what}.", byte=place, advice="Fetch the file again.")
