"""Zip archives: their layout, and every member by what it is.

Limits on what they unpack to, names that lead out of the folder, links, encryption and checksums are looked at for
all; torch files, Keras models and arrays are zips too and come here first.
"""

import bz2
import io
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import IO

from transfuse.weights.scanning import inspecting
from transfuse.weights.scanning.archives.zip_layout import BZIPPED, DEFLATED, STORED, Member, checksum_of, members
from transfuse.weights.scanning.contents import Content, unpacked
from transfuse.weights.scanning.findings import Finding, located, refused

_PIECE = 2**16


class Window(io.RawIOBase):
    """A part of a stream as a stream of its own, without a copy."""

    def __init__(self, stream: IO[bytes], start: int, size: int) -> None:
        self._stream, self._start, self._size, self._place = stream, start, size, 0

    def readable(self) -> bool:
        """It is."""
        return True

    def seekable(self) -> bool:
        """It is."""
        return True

    def seek(self, place: int, whence: int = 0) -> int:
        """Go to a place, counted from the part's own beginning."""
        self._place = max(0, place + (0, self._place, self._size)[whence])
        return self._place

    def tell(self) -> int:
        """The place within the part."""
        return self._place

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Fill the buffer with what is left, at most."""
        count = max(0, min(len(buffer), self._size - self._place))
        self._stream.seek(self._start + self._place)
        data = self._stream.read(count)
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)


def zip_archive(content: Content) -> Iterator[Finding]:
    """Every member, through the inspection that its bytes call for."""
    for member in checked_members(content):
        with opened(content, member) as inner:
            if member.size:
                yield from located(inspecting.inspect(inner), member.name)


def unpacked_members(content: Content) -> Iterator[Content]:
    """Every member that is no folder, its checksum verified. Raises `Refused`."""
    for member in checked_members(content):
        with opened(content, member) as inner:
            if not member.folder:
                yield inner


def checked_members(content: Content) -> list[Member]:
    """The members, whose names lead nowhere else and are all different. Raises `Refused`."""
    found = members(content)
    for member in found:
        check_name(member.name)
    twice = [
        name for name, count in Counter(member.name.rstrip("/").casefold() for member in found).items() if count > 1
    ]
    if twice:
        raise refused("archive-twice", "Two members have one name, so two readers would see different files.", twice[0])
    return found


def check_name(name: str) -> None:
    """Refuse the name of a member that does not stay in the folder it is unpacked to."""
    parts = PurePosixPath(name).parts
    strange = any(ord(letter) < 32 or letter == "\x7f" for letter in name)
    if not parts or strange or "\\" in name or name.startswith("/") or ".." in parts or name[1:2] == ":":
        raise refused(
            "archive-slip", "The name of a member leads out of the folder that it is unpacked to.", ascii(name)
        )


@contextmanager
def opened(content: Content, member: Member, *, verified: bool = True) -> Iterator[Content]:
    """A member's bytes, unpacked within the limits; their size is right, and their checksum. Raises `Refused`."""
    if member.folder and member.size:
        raise refused("zip-hidden", "A folder of its zip container holds bytes.", member.name)
    if member.method == STORED:
        if member.packed != member.size:
            raise refused("zip-broken", "The two sizes of a stored member disagree.", member.name)
        if verified and checksum_of(content, member) != member.checksum:
            raise _wrong_checksum(member)
        yield content.inside(member.name, window(content, member.start, member.size), member.size)
        return
    stream, size = unpacked(_pieces(content, member), member.packed, content.budget, member.name)
    with stream:
        if size != member.size:
            raise refused("zip-size", f"A member unpacks to {size} bytes and claims {member.size}.", member.name)
        yield content.inside(member.name, stream, size)


def window(content: Content, start: int, size: int) -> IO[bytes]:
    """A part of a stream, for many small reads."""
    return io.BufferedReader(Window(content.stream, start, size), _PIECE)


def verify(content: Content, member: Member) -> None:
    """Refuse a member whose checksum is wrong."""
    with opened(content, member):
        pass


def _wrong_checksum(member: Member) -> Exception:
    advice = "Fetch it again; if it stays so, do not open it."
    return refused("checksum", "The checksum of a member is wrong: its bytes were changed.", member.name, advice=advice)


def _pieces(content: Content, member: Member) -> Iterator[bytes]:
    """What a compressed member unpacks to, in pieces, and at the end a check of its checksum."""
    if member.method not in (DEFLATED, BZIPPED):
        raise refused(
            "archive-method",
            f"A member is compressed by method {member.method}, which is not looked into.",
            member.name,
            advice="Unpack it yourself and scan what comes out.",
        )
    maker = zlib.decompressobj(-15) if member.method == DEFLATED else bz2.BZ2Decompressor()
    checksum, place, end, rest = 0, member.start, member.start + member.packed, b""
    while not maker.eof:
        if not rest and place < end:
            rest = content.read(place, min(_PIECE, end - place))
            place += len(rest)
        try:
            piece = maker.decompress(rest, 2**20)
        except (zlib.error, OSError, ValueError) as error:
            raise refused("zip-broken", f"A compressed member is broken: {error}.", member.name) from None
        rest = maker.unconsumed_tail if member.method == DEFLATED else b""  # type: ignore[union-attr]
        if not piece and not rest and place >= end and not maker.eof:
            raise refused("zip-broken", "A member ends too early.", member.name)
        checksum = zlib.crc32(piece, checksum)
        yield piece
    if maker.unused_data or rest or place != end:
        raise refused("zip-hidden", "Bytes hide behind the end of a compressed member.", member.name)
    if checksum != member.checksum:
        raise _wrong_checksum(member)
