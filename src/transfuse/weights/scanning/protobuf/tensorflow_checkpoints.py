"""The index of a TensorFlow checkpoint: a sorted table that says which tensor lies where in the shards beside it.

Format: LevelDB's table (https://github.com/google/leveldb/blob/main/doc/table_format.md) of `BundleEntryProto` messages
(tensorflow/core/protobuf/tensor_bundle.proto), never compressed by TensorFlow.
"""

import io
import math
from collections.abc import Iterator, Mapping

from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.findings import Finding, refused
from transfuse.weights.scanning.places import beside
from transfuse.weights.scanning.protobuf import wire

MAGIC = bytes.fromhex("57fb808b247547db")
_LARGEST = 256 * 2**20
_MOST_BLOCKS = 100_000
_ITEMS: Mapping[int, int] = {
    **dict.fromkeys((4, 6, 10, 11, 12), 1), **dict.fromkeys((5, 14, 15, 16, 17, 19), 2),
    **dict.fromkeys((1, 3, 13, 22), 4), **dict.fromkeys((2, 8, 9, 23), 8), 18: 16,
}  # fmt: skip
"""Bytes of an element by `DataType`; types of changing size are not here."""
_FETCH = "Fetch the file again, and the shards beside it."


def index(content: Content) -> Iterator[Finding]:
    """Every tensor must be as large as its shape and lie within its shard."""
    shards(content)
    return iter(())


def shards(content: Content) -> set[str]:
    """Names of the files that hold the numbers. Raises `Refused`."""
    count, entries = _entries(content)
    stem = content.name.rpartition("!")[2].rpartition("/")[2].removesuffix(".index")
    names = [f"{stem}.data-{number:05d}-of-{count:05d}" for number in range(count)]
    sizes = [beside(content.path.parent, name) if content.path else None for name in names]
    for name, size in zip(names, sizes, strict=True):
        if isinstance(size, str):
            raise refused("checkpoint-shard", f"Its shard '{name}' {size}.", where=name, advice=_FETCH)
    for key, entry in entries:
        _check(key, entry, sizes)
    return set(names)


def _check(key: str, entry: wire.Message, sizes: list[int | str | None]) -> None:
    parts = wire.grouped(entry, (1, 2, 3, 4, 5))
    code, shard, offset, size = (_last(parts[number]) for number in (1, 3, 4, 5))
    shape = [
        _last(wire.grouped(dim, (1,))[1])
        for part in wire.messages(parts[2])
        for dim in wire.messages(wire.grouped(part, (2,))[2])
    ]
    claimed = math.prod(shape[:64]) * _ITEMS.get(code, 0)
    end = sizes[shard] if shard < len(sizes) else -1
    if (code in _ITEMS and claimed != size) or shard >= len(sizes) or (isinstance(end, int) and offset + size > end):
        reason = f"Tensor '{key[:80]}' takes {size:,} bytes at {offset:,}, which its shape or its shard denies."
        raise refused("checkpoint-tensor", reason, where=key[:80], advice=_FETCH)


def _last(values: list[int | wire.Message]) -> int:
    return values[-1] if values and isinstance(values[-1], int) else 0


def _entries(content: Content) -> tuple[int, list[tuple[str, wire.Message]]]:
    """Number of shards, and each tensor's name with its entry."""
    if content.size < 48 or content.size > _LARGEST or content.read(content.size - 8, 8) != MAGIC:
        raise refused("checkpoint-table", "It is no whole table of tensors.", advice=_FETCH)
    footer = _Bytes(content.read(content.size - 48, 40))
    _, _, start, size = (footer.varint() for _ in range(4))
    found: list[tuple[str, wire.Message]] = []
    count = 1
    blocks = list(_block(content, start, size))
    if len(blocks) > _MOST_BLOCKS:
        raise refused("checkpoint-table", f"It has more than {_MOST_BLOCKS:,} blocks.")
    for _, handle in blocks:
        place = _Bytes(handle)
        for key, value in _block(content, place.varint(), place.varint()):
            part = wire.message(Content(stream=io.BytesIO(value), size=len(value), name=content.name))
            if key == b"":
                count = max(1, _last(wire.grouped(part, (1,))[1]))
            else:
                found.append((key.decode(errors="backslashreplace"), part))
    if count > 10_000:
        raise refused("checkpoint-table", f"It names {count:,} shards.", advice=_FETCH)
    return count, found


class _Bytes:
    """Bytes read from front to back."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data, 0

    def varint(self) -> int:
        number = shift = 0
        while True:
            (byte,) = self.take(1)
            number |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return number
            if shift > 63:
                raise refused("checkpoint-table", "A number in it is cut off.", advice=_FETCH)

    def take(self, count: int) -> bytes:
        if count > len(self.data) - self.place:
            raise refused("checkpoint-table", "It is cut off.", advice=_FETCH)
        self.place += count
        return self.data[self.place - count : self.place]


def _block(content: Content, start: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of one block; each key continues the one before."""
    if size < 4 or start + size + 5 > content.size:
        raise refused(
            "checkpoint-table", "A block lies outside the file.", byte=min(start, content.size), advice=_FETCH
        )
    if content.read(start + size, 1) != b"\0":
        raise refused("checkpoint-table", "A block is compressed, which TensorFlow never does.", byte=start)
    data = content.read(start, size)
    end = size - 4 - 4 * int.from_bytes(data[-4:], "little")
    if end < 0:
        raise refused("checkpoint-table", "A block has no end.", byte=start, advice=_FETCH)
    block, key = _Bytes(data[:end]), b""
    while block.place < end:
        shared, fresh, length = block.varint(), block.varint(), block.varint()
        key = key[:shared] + block.take(fresh)
        yield key, block.take(length)
