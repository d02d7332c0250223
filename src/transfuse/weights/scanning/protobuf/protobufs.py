"""Which format a protocol-buffer message without any mark is, by the numbers and types of its outermost fields."""

from collections.abc import Mapping
from itertools import islice

from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.findings import Refused
from transfuse.weights.scanning.protobuf import wire

_LOOKED_AT = 200
_Shape = frozenset[tuple[int, int]]
_KINDS: Mapping[str, tuple[_Shape, _Shape]] = {
    "savedmodel": (frozenset({(1, 0), (2, 2)}), frozenset()),
    "onnx": (
        frozenset({(1, 0), (7, 2)}),
        frozenset({(2, 2), (3, 2), (4, 2), (5, 0), (6, 2), (8, 2), (14, 2), (20, 2), (25, 2), (26, 2)}),
    ),
    "fingerprint": (frozenset({(1, 0)}), frozenset({(2, 0), (3, 0), (4, 0), (5, 0), (6, 2), (7, 2)})),
}
"""Fields that must be there, and those that may."""
_INNER: Mapping[str, tuple[_Shape, _Shape, _Shape]] = {
    "sentencepiece": (frozenset({(1, 2), (2, 5)}), frozenset({(3, 0)}), frozenset({(2, 2), (3, 2), (4, 2), (5, 2)})),
    "graphdef": (
        frozenset({(1, 2), (2, 2)}),
        frozenset({(3, 2), (4, 2), (5, 2), (6, 2), (7, 2)}),
        frozenset({(2, 2), (3, 0), (4, 2)}),
    ),
    "keras-metadata": (frozenset({(2, 0), (4, 2)}), frozenset({(3, 2), (5, 2), (6, 2)}), frozenset()),
}
"""For messages whose field 1 is repeated: what it must hold, what it may, and what may stand beside it."""


def kind_of(content: Content) -> str | None:
    """A key of `inspecting.INSPECTIONS`, or None when the bytes are none of these messages."""
    if content.size < 4:
        return None
    try:
        fields = list(islice(wire.message(content).fields(), _LOOKED_AT))
        found = {(number, how) for number, how, _ in fields}
        if {(1, 0), (2, 2)} <= found and any(200 <= number <= 3000 and how == 2 for number, how in found):
            return "coreml"
        for kind, (must, may) in _KINDS.items():
            if must <= found <= must | may:
                return kind
        firsts = [value for number, how, value in fields if (number, how) == (1, 2)]
        if not firsts or not isinstance(firsts[0], wire.Message):
            return None
        inner = {(number, how) for number, how, _ in firsts[0].fields()}
    except Refused:
        return None
    for kind, (must, may, beside) in _INNER.items():
        if must <= inner <= must | may and found - {(1, 2)} <= beside:
            return kind
    return None
