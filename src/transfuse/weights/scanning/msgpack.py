"""MessagePack, as Flax saves weights: tables, texts and arrays, each of which must end within the file.

Format: https://github.com/msgpack/msgpack/blob/master/spec.md. Flax knows three kinds of its own (arrays, complex
numbers, scalars of NumPy), none of which runs anything; a kind that it does not know is refused.
"""

import struct
from collections.abc import Iterator, Mapping

from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.findings import Finding, refused

_WINDOW = 2**16
_MOST_VALUES = 5_000_000
_DEPTH = 100
_FLAX = {1, 2, 3}
_PLAIN: Mapping[int, int] = {
    0xC0: 0,
    0xC2: 0,
    0xC3: 0,
    0xCA: 4,
    0xCB: 8,
    **{0xCC + i: 2**i for i in range(4)},
    **{0xD0 + i: 2**i for i in range(4)},
}
"""Bytes after the mark of a value that has no length of its own."""
_LENGTHS: Mapping[int, str] = {
    0xC4: ">B", 0xC5: ">H", 0xC6: ">I", 0xD9: ">B", 0xDA: ">H", 0xDB: ">I", 0xC7: ">B", 0xC8: ">H", 0xC9: ">I",
    0xDC: ">H", 0xDD: ">I", 0xDE: ">H", 0xDF: ">I",
}  # fmt: skip
_FETCH = "Fetch the file again."


def msgpack(content: Content) -> Iterator[Finding]:
    """One value from the first byte to the last."""
    place, window, start, left = 0, b"", 0, _MOST_VALUES
    open_ = [1]  # values still to come, for each table or list that is open
    while open_:
        if open_[-1] == 0:
            open_.pop()
            continue
        open_[-1] -= 1
        left -= 1
        if place - start + 8 > len(window):
            window, start = content.read(place, _WINDOW), place
        mark, length, inside = _head(window[place - start : place - start + 8], place)
        place += length
        if place > content.size or inside > content.size - place or left < 0 or len(open_) > _DEPTH:
            raise refused("msgpack", "It is broken: a value does not fit into the file.", byte=place, advice=_FETCH)
        if inside:
            open_.append(inside)
        if mark not in _FLAX:
            raise refused("msgpack", f"It holds a value of the unknown kind {mark}.", byte=place, advice=_FETCH)
    if place != content.size:
        raise refused("msgpack", f"{content.size - place:,} bytes after its end belong to nothing.", byte=place)
    return iter(())


def _head(head: bytes, place: int) -> tuple[int, int, int]:
    """Kind of an extension (1 for all else), bytes that the value takes, and how many values it holds."""
    mark = head[0] if head else 0xC1
    if mark <= 0x7F or mark >= 0xE0 or mark in _PLAIN:
        return 1, 1 + _PLAIN.get(mark, 0), 0
    if mark <= 0x8F:
        return 1, 1, 2 * (mark & 15)
    if mark <= 0x9F:
        return 1, 1, mark & 15
    if mark <= 0xBF:
        return 1, 1 + (mark & 31), 0
    if 0xD4 <= mark <= 0xD8 and len(head) > 1:
        return head[1], 2 + 2 ** (mark - 0xD4), 0
    how = _LENGTHS.get(mark)
    if how is None or len(head) < 2 + struct.calcsize(how):
        raise refused("msgpack", "It is broken: a value has an unknown mark or is cut off.", byte=place, advice=_FETCH)
    wide = 1 + struct.calcsize(how)
    (count,) = struct.unpack(how, head[1:wide])
    if mark in (0xC7, 0xC8, 0xC9):
        return head[wide], wide + 1 + count, 0
    if mark >= 0xDC:
        return 1, wide, count * (2 if mark >= 0xDE else 1)
    return 1, wide + count, 0
