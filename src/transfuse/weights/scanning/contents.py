"""Bytes to be judged, wherever they lie: a file, or a member of an archive; and how much may be spent on them."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import IO

from transfuse.weights.scanning.findings import refused

_PIECE = 2**20
_SPOOLED = 32 * 2**20  # bytes of an unpacked member that are held in memory


@dataclass(kw_only=True)
class Budget:
    """What is left of the work that one file from outside may cause."""

    depth: int = 4
    """Containers inside containers."""
    members: int = 100_000
    unpacked: int = 64 * 2**30
    """Bytes that unpacking may give, all members together."""
    ratio: int = 200
    """Unpacked over packed size beyond which a member of more than 1 MiB is a bomb."""


@dataclass(frozen=True, kw_only=True)
class Content:
    """A seekable stream with its size and its name; `path` only when it is a file itself, for what lies beside it."""

    stream: IO[bytes]
    size: int
    name: str
    """The file's name, or `model.zip!inner/weights.pt` for a member."""
    path: Path | None = None
    depth: int = 0
    budget: Budget = field(default_factory=Budget)

    @property
    def suffix(self) -> str:
        """The last extension, in lower case, with its dot."""
        return PurePosixPath(self.name.rpartition("!")[2]).suffix.lower()

    def read(self, start: int, count: int) -> bytes:
        """Up to `count` bytes from an offset."""
        self.stream.seek(start)
        return self.stream.read(count)

    def inside(self, name: str, stream: IO[bytes], size: int) -> "Content":
        """A member of this container. Raises `Refused` when containers lie too deep in each other."""
        if self.depth >= self.budget.depth:
            raise refused("archive-depth", f"Archives lie more than {self.budget.depth} deep in each other.", name)
        return Content(stream=stream, size=size, name=f"{self.name}!{name}", depth=self.depth + 1, budget=self.budget)


def unpacked(pieces: Iterator[bytes], packed: int, budget: Budget, where: str) -> tuple[IO[bytes], int]:
    """What a decompressor gives, in memory or on disk, and its size. Raises `Refused` at a bomb, early.

    `packed` is the number of bytes that it was made from.
    """
    stream, size = tempfile.SpooledTemporaryFile(max_size=_SPOOLED), 0  # noqa: SIM115 - the caller's to read
    try:
        for piece in pieces:
            size += len(piece)
            budget.unpacked -= len(piece)
            if budget.unpacked < 0 or (size > _PIECE and size > budget.ratio * packed):
                raise refused("archive-bomb", f"It unpacks to more than {budget.ratio} times its size.", where)
            stream.write(piece)
    except BaseException:
        stream.close()
        raise
    stream.seek(0)
    return stream, size
