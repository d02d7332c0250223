"""TensorFlow Lite: a FlatBuffer whose tables, tensors and buffers must lie within the file; operators by name.

Schema: tensorflow/compiler/mlir/lite/schema/schema.fbs (version 3). Every offset is checked before it is followed.
"""

import math
import struct
from collections.abc import Iterator, Mapping

from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.findings import Finding, refused
from transfuse.weights.scanning.protobuf.savedmodel import judged

_LARGEST = 2**31
_MOST_ENTRIES = 1_000_000
_BITS: Mapping[int, int] = {
    0: 32,
    1: 16,
    2: 32,
    3: 8,
    4: 64,
    6: 8,
    7: 16,
    8: 64,
    9: 8,
    10: 64,
    11: 128,
    12: 64,
    15: 32,
    16: 16,
    17: 4,
    18: 16,
}
"""Bits of an element by `TensorType`; texts, resources and variants have none."""
_CUSTOM = 32
_BUNDLED = frozenset({"TFLite_Detection_PostProcess"})
_FETCH = "Fetch the file again."


class _Table:
    """One table: fields by their number, through its list of offsets."""

    def __init__(self, content: Content, place: int) -> None:
        self.content, self.place = content, place
        back = _number(content, place, "<i")
        self.offsets = place - back
        self.count = (_number(content, self.offsets, "<H") - 4) // 2

    def at(self, field: int) -> int:
        """Place of a field; 0 when it is not told."""
        if field >= self.count:
            return 0
        offset = _number(self.content, self.offsets + 4 + 2 * field, "<H")
        return self.place + offset if offset else 0

    def number(self, field: int, how: str, default: int = 0) -> int:
        place = self.at(field)
        return _number(self.content, place, how) if place else default

    def vector(self, field: int, width: int) -> tuple[int, int]:
        """Place and length of a vector; its bytes lie within the file."""
        place = self.at(field)
        if not place:
            return 0, 0
        start = place + _number(self.content, place, "<I")
        count = _number(self.content, start, "<I")
        if count * width > self.content.size - start - 4:
            raise _broken(f"a list of {count:,} entries does not fit into the file", start)
        return start + 4, count

    def tables(self, field: int) -> list["_Table"]:
        start, count = self.vector(field, 4)
        if count > _MOST_ENTRIES:
            raise refused("tflite-size", f"It has a list of {count:,} entries.", byte=start)
        places = (start + 4 * number for number in range(count))
        return [_Table(self.content, place + _number(self.content, place, "<I")) for place in places]

    def numbers(self, field: int, how: str) -> list[int]:
        start, count = self.vector(field, struct.calcsize(how))
        if count > _MOST_ENTRIES:
            raise refused("tflite-size", f"It has a list of {count:,} entries.", byte=start)
        data = self.content.read(start, count * struct.calcsize(how))
        return [number for (number,) in struct.iter_unpack(how, data)] if count else []

    def text(self, field: int) -> str:
        start, count = self.vector(field, 1)
        return self.content.read(start, min(count, 1000)).decode(errors="backslashreplace")


def tflite(content: Content) -> Iterator[Finding]:
    """Operators, then buffers, then each graph's tensors and nodes."""
    if content.size > _LARGEST:
        raise refused("tflite-size", "It is larger than 2 GiB, which the format cannot point into.")
    model = _Table(content, _number(content, 0, "<I"))
    codes = model.tables(1)
    for code in codes:
        yield from _operator(code)
    buffers = [_buffer(buffer, content) for buffer in model.tables(4)]
    for graph in model.tables(2):
        tensors = graph.tables(0)
        for tensor in tensors:
            _tensor(tensor, buffers)
        for node in graph.tables(3):
            _require_below(node.number(0, "<I"), len(codes), "an operator", node.place)
            for field in (1, 2):
                for place in node.numbers(field, "<i"):
                    _require_below(place + 1, len(tensors) + 1, "a tensor", node.place)
        for field in (1, 2):
            for place in graph.numbers(field, "<i"):
                _require_below(place + 1, len(tensors) + 1, "a tensor", graph.place)


def _operator(code: _Table) -> Iterator[Finding]:
    name = code.text(1)
    builtin = max(code.number(0, "<b"), code.number(3, "<i"))
    if builtin != _CUSTOM or not name or name in _BUNDLED:
        return
    if name.startswith("Flex"):
        finding = judged(name.removeprefix("Flex"))
        if finding:
            yield finding
        return
    reason = f"Operator '{name[:60]}' needs a library of operators, which is code."
    advice = "Open it only with a library of operators that you know and trust."
    yield Finding(verdict="ask", rule="tflite-custom", reason=reason, where=name[:60], advice=advice)


def _buffer(buffer: _Table, content: Content) -> int:
    """Bytes of a buffer; large ones lie behind the tables."""
    _, count = buffer.vector(0, 1)
    offset, size = buffer.number(1, "<Q"), buffer.number(2, "<Q")
    if offset > 1 and offset + size > content.size:
        raise _broken(f"a buffer ends at byte {offset + size:,}, past the end of the file", buffer.place)
    return size if offset > 1 else count


def _tensor(tensor: _Table, buffers: list[int]) -> None:
    name = tensor.text(3)[:80]
    shape, kind, buffer = tensor.numbers(0, "<i"), tensor.number(1, "<b"), tensor.number(2, "<I")
    _require_below(buffer, max(len(buffers), 1), "a buffer", tensor.place)
    there = buffers[buffer] if buffers else 0
    if not there or kind not in _BITS or tensor.at(6):  # computed, texts, sparse
        return
    claimed = -(-math.prod(max(side, 0) for side in shape[:64]) * _BITS[kind] // 8)
    if claimed != there or any(side < 0 for side in shape):
        reason = f"Tensor '{name}' has {there:,} bytes, but its shape {shape[:8]} says {claimed:,}."
        raise refused("tflite-tensor", reason, where=name, byte=tensor.place, advice=_FETCH)


def _require_below(number: int, limit: int, what: str, byte: int) -> None:
    if not 0 <= number < limit:
        raise _broken(f"it points to {what} that it does not have", byte)


def _number(content: Content, place: int, how: str) -> int:
    size = struct.calcsize(how)
    if not 0 <= place <= content.size - size:
        raise _broken("an offset leads out of the file", max(0, min(place, content.size)))
    (number,) = struct.unpack(how, content.read(place, size))
    return int(number)


def _broken(what: str, byte: int) -> Exception:
    return refused("broken", f"It is broken: {what}.", byte=byte, advice=_FETCH)
