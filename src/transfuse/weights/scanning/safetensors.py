"""Safetensors: the one parser of their headers, and whether weights are finite.

Format: https://huggingface.co/docs/safetensors (8 bytes of length, a JSON object, data). Stricter than the library
(0.8), which takes a name that is told twice (the last one wins) and a header that begins with a space.
"""

import json
import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, Any

from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.findings import Finding, refused

LARGEST_HEADER = 100 * 2**20
BITS: Mapping[str, int] = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8, "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
}  # fmt: skip
"""Bits of one element, by the names of the types."""
_PIECE = 2**22
_MOST_SIDES = 64
_FETCH = "Fetch the file again; if it stays so, ask for the weights again."


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One tensor as the header tells it."""

    name: str
    code: str
    """Its type, a key of `BITS`."""
    shape: tuple[int, ...]
    start: int
    """Byte of the file where its data begin."""
    stop: int


def safetensors(content: Content) -> Iterator[Finding]:
    """The header, then every weight of a floating type."""
    tensors = parsed(content.stream, content.size)
    for tensor in tensors:
        yield from _finite(content, tensor)


def parsed(stream: IO[bytes], size: int) -> list[Stored]:
    """The tensors of a file in the order of their bytes. Raises `Refused`."""
    stream.seek(0)
    head = stream.read(8)
    length = int.from_bytes(head, "little")
    if len(head) < 8 or not 2 <= length <= min(LARGEST_HEADER, size - 8):
        reason = f"Its header says that it has {length:,} bytes; the file has {size:,}, and 100 MiB is the limit."
        raise refused("safetensors-length", reason, byte=0, advice=_FETCH)
    document = _document(stream.read(length))
    _check_metadata(document.pop("__metadata__", {}))
    tensors = [_stored(name, facts, 8 + length) for name, facts in document.items()]
    tensors.sort(key=lambda tensor: (tensor.start, tensor.stop))
    _require_filled(tensors, 8 + length, size)
    return tensors


def _document(text: bytes) -> dict[str, Any]:
    if text[:1] != b"{":
        raise refused("safetensors-header", "Its header must begin with '{', but does not.", byte=8, advice=_FETCH)
    try:
        document = json.loads(text.decode(), object_pairs_hook=_told_once, parse_constant=_no_constant)
    except RecursionError:
        raise refused("safetensors-header", "Its header is nested too deeply.", byte=8, advice=_FETCH) from None
    except ValueError as error:  # bad JSON, bad UTF-8, numbers with thousands of digits
        reason = f"Its header is no JSON text: {str(error)[:120]}."
        raise refused("safetensors-header", reason, byte=8, advice=_FETCH) from None
    return dict(document)


def _told_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    told = dict(pairs)
    if len(told) != len(pairs):
        name = Counter(name for name, _ in pairs).most_common(1)[0][0]
        reason = f"Its header names '{name[:80]}' twice, so two readers could see different weights."
        raise refused("safetensors-twice", reason, where=name[:80])
    return told


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def _check_metadata(metadata: Any) -> None:
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        reason = "Its metadata must be a table of texts, but is not."
        raise refused("safetensors-metadata", reason, where="__metadata__", advice=_FETCH)


def _stored(name: str, facts: Any, data: int) -> Stored:
    if any(ord(letter) < 32 or 0xD800 <= ord(letter) < 0xE000 for letter in name):
        raise refused("safetensors-name", "A tensor's name holds control characters.", where=repr(name)[:80])
    if not isinstance(facts, dict) or set(facts) != {"dtype", "shape", "data_offsets"}:
        raise _wrong(name, "must have exactly a dtype, a shape and data_offsets")
    code, shape, offsets = facts["dtype"], facts["shape"], facts["data_offsets"]
    if not isinstance(code, str) or code not in BITS:
        raise _wrong(name, f"has the type {str(code)[:20]}, which the format does not know")
    if not _whole(shape) or len(shape) > _MOST_SIDES:
        raise _wrong(name, f"has the shape {str(shape)[:60]}, which is no list of whole numbers from 0")
    if not _whole(offsets) or len(offsets) != 2:
        raise _wrong(name, f"has the offsets {str(offsets)[:60]}, which are no two whole numbers from 0")
    bits = math.prod(shape) * BITS[code]
    if bits >= 2**66 or bits != 8 * (offsets[1] - offsets[0]):
        claim = f"{-(-bits // 8):,}" if bits < 2**66 else "more than any file has"
        raise _wrong(name, f"takes {offsets[1] - offsets[0]:,} bytes, but its type and shape say {claim}")
    return Stored(name=name, code=code, shape=tuple(shape), start=data + offsets[0], stop=data + offsets[1])


def _whole(numbers: Any) -> bool:
    return isinstance(numbers, list) and all(type(number) is int and 0 <= number < 2**63 for number in numbers)


def _wrong(name: str, what: str) -> Exception:
    return refused("safetensors-tensor", f"Tensor '{name[:80]}' {what}.", where=name[:80], advice=_FETCH)


def _require_filled(tensors: list[Stored], place: int, size: int) -> None:
    """Every byte of the data belongs to exactly one tensor."""
    for tensor in tensors:
        if tensor.start < place:
            raise refused(
                "safetensors-overlap",
                f"Tensor '{tensor.name[:80]}' overlaps another one's bytes.",
                where=tensor.name[:80],
                byte=tensor.start,
            )
        if tensor.start > place:
            reason = f"{tensor.start - place:,} bytes before tensor '{tensor.name[:80]}' belong to none."
            raise refused("safetensors-hole", reason, where=tensor.name[:80], byte=place)
        place = tensor.stop
    if place > size:
        reason = f"It is truncated: {place:,} bytes are announced, {size:,} are there."
        raise refused("safetensors-truncated", reason, byte=size, advice="Fetch the file again.")
    if place < size:
        reason = f"{size - place:,} bytes after the last tensor belong to none; something may be hidden there."
        raise refused("safetensors-tail", reason, byte=place)


def _finite(content: Content, tensor: Stored) -> Iterator[Finding]:
    """NaN and +Inf are in no weight; -Inf is what masks are made of, so it passes."""
    if tensor.code not in _BAD:
        return
    item = BITS[tensor.code] // 8
    for start in range(tensor.start, tensor.stop, _PIECE):
        index = _first_bad(tensor.code, content.read(start, min(_PIECE, tensor.stop - start)))
        if index is not None:
            byte = start + index * (4 if tensor.code == "C64" else item)
            yield Finding(
                verdict="reject",
                rule="safetensors-nan",
                reason=f"Tensor '{tensor.name[:80]}' holds a weight that is not a number or infinite.",
                where=tensor.name[:80],
                byte=byte,
                advice="Training has diverged or the file is damaged: ask for an earlier checkpoint.",
            )
            return


_BAD: Mapping[str, tuple[str, int, int, int]] = {
    "F16": ("<u2", 0x7FFF, 0x7C00, 0xFC00),
    "BF16": ("<u2", 0x7FFF, 0x7F80, 0xFF80),
    "F32": ("<u4", 0x7FFFFFFF, 0x7F800000, 0xFF800000),
    "C64": ("<u4", 0x7FFFFFFF, 0x7F800000, 0xFF800000),
    "F64": ("<u8", 0x7FFFFFFFFFFFFFFF, 0x7FF0000000000000, 0xFFF0000000000000),
}
"""Per type: how its bits are read, all but the sign, infinity, minus infinity."""


def _first_bad(code: str, piece: bytes) -> int | None:
    """Place in the piece of the first number that is NaN or +Inf; bits are compared, since no float loses any."""
    import numpy as np

    how, magnitude, infinity, masking = _BAD[code]
    bits = np.frombuffer(piece, how)
    if not bits.size or (bits & bits.dtype.type(magnitude)).max() < infinity:
        return None
    bad = ((bits & bits.dtype.type(magnitude)) >= infinity) & (bits != bits.dtype.type(masking))
    return int(bad.argmax()) if bad.any() else None
