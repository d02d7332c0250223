"""One compressed stream: gzip, bzip2, xz, lzma, zlib, and the zlib of joblib before 0.10. What comes out is judged.

Joblib decompresses by the first bytes, whatever the name; so does this.
"""

import bz2
import lzma
import zlib
from collections.abc import Callable, Generator, Iterator
from typing import Any

from transfuse.weights.scanning import inspecting
from transfuse.weights.scanning.contents import Content, unpacked
from transfuse.weights.scanning.findings import Finding, refused

_PIECE, _GIVEN = 2**16, 2**20
_MEMORY = 80 * 2**20  # that lzma may claim for its dictionary; xz -9 needs 65 MiB
_SUFFIXES = (".gz", ".bz2", ".xz", ".lzma", ".z", ".zlib")
_OLD_JOBLIB_HEAD = 2 + 19  # "ZF" and the length in hexadecimal


def gzip(content: Content) -> Iterator[Finding]:
    """Gzip, perhaps several after each other."""
    return _inside(content, lambda: zlib.decompressobj(31), b"\x1f\x8b")


def bzip2(content: Content) -> Iterator[Finding]:
    """Bzip2, perhaps several after each other."""
    return _inside(content, bz2.BZ2Decompressor, b"BZh")


def xz(content: Content) -> Iterator[Finding]:
    """Xz, perhaps several after each other."""
    return _inside(content, lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY), b"\xfd7zXZ\0")


def lzma_alone(content: Content) -> Iterator[Finding]:
    """The format of lzma before xz."""
    return _inside(content, lambda: lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_MEMORY))


def zlib_stream(content: Content) -> Iterator[Finding]:
    """Zlib without a container."""
    return _inside(content, zlib.decompressobj)


def old_joblib(content: Content) -> Iterator[Finding]:
    """Zlib behind a head of joblib's."""
    return _inside(content, zlib.decompressobj, start=_OLD_JOBLIB_HEAD)


def _inside(
    content: Content, maker: Callable[[], Any], again: bytes | None = None, start: int = 0
) -> Iterator[Finding]:
    pieces = _pieces(content, maker, again, start)
    stream, size = unpacked(pieces, content.size, content.budget, content.name)
    name = content.name.rpartition("!")[2]
    name = next((name.removesuffix(suffix) for suffix in _SUFFIXES if name.lower().endswith(suffix)), name)
    with stream:
        yield from inspecting.inspect(content.inside(name, stream, size))


def _pieces(content: Content, maker: Callable[[], Any], again: bytes | None, start: int) -> Iterator[bytes]:
    """What the stream unpacks to; another one may follow where the format's own tools would go on."""
    place = start
    while True:
        place = yield from _one(content, maker(), place)
        rest = content.read(place, 8)
        if not rest or (again == b"\x1f\x8b" and not content.read(place, content.size).strip(b"\0")):
            return
        if again is None or not rest.startswith(again):
            raise refused("trailing", f"{content.size - place} bytes follow the compressed stream.", byte=place)


def _one(content: Content, machine: Any, place: int) -> Generator[bytes, None, int]:
    """One stream; gives the offset behind it."""
    data = b""
    while not machine.eof:
        if not data:
            data = content.read(place, _PIECE)
            place += len(data)
        at_end = not data
        try:
            piece = machine.decompress(data, _GIVEN)
        except (zlib.error, OSError, lzma.LZMAError, EOFError) as error:
            raise refused("compressed-broken", f"Its compressed stream is broken: {error}.", byte=place) from None
        data = getattr(machine, "unconsumed_tail", b"")
        if piece:
            yield piece
        elif at_end and not machine.eof:
            raise refused("compressed-broken", "Its compressed stream ends too early.", advice="Fetch it again.")
    return place - len(machine.unused_data)
