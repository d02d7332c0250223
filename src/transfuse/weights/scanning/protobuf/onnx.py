"""ONNX: tensors as large as they say, data outside the file only beside it, operators that are known.

Schema: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto (field numbers below), walked by `wire.py`; no library of
ONNX is asked. onnxruntime 1.31 follows hard links out of the folder, so data with a second name are refused.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.findings import Finding, refused
from transfuse.weights.scanning.places import beside, strays
from transfuse.weights.scanning.protobuf import wire
from transfuse.weights.scanning.protobuf.onnx_operators import NATIVE, NEWEST, OPERATORS, PYTHON

_EXTERNAL_KEYS = {"location", "offset", "length", "checksum"}
_MOST_NODES = 10_000_000
_BITS: Mapping[int, int] = {
    **dict.fromkeys((2, 3, 9, 17, 18, 19, 20, 24), 8), **dict.fromkeys((4, 5, 10, 16), 16),
    **dict.fromkeys((1, 6, 12), 32), **dict.fromkeys((7, 11, 13, 14), 64), 15: 128,
    **dict.fromkeys((21, 22, 23), 4), **dict.fromkeys((25, 26), 2), **dict.fromkeys((27, 28), 6),
}  # fmt: skip
"""Bits of one element by `TensorProto.DataType`; texts (8) have none."""
_PER_NUMBER: Mapping[int, int] = {21: 2, 22: 2, 23: 2, 25: 4, 26: 4}
"""Elements of less than a byte that share one `int32_data`."""
_TEXTS = 8
_FETCH = "Fetch the file again."
Named = tuple[str, str]


@dataclass(kw_only=True)
class _Graph:
    """What the walk through a model collects."""

    folder: Path | None
    used: dict[Named, int] = field(default_factory=dict)
    """Domain and name of each operator, and how often the part of the model that is walked names it."""
    functions: dict[Named, dict[Named, int]] = field(default_factory=dict)
    """Functions that the model defines, and what each one uses."""
    places: set[str] = field(default_factory=set)
    """Files with data that lie outside the model."""


def onnx(content: Content) -> Iterator[Finding]:
    """Everything that can be wrong with a model, then the operators that need a person's word."""
    graph, newest = walked(content)
    yield from _strangers(graph, newest)


def walked(content: Content) -> tuple[_Graph, int]:
    """The model's operators and data files, all tensors checked, and its newest opset. Raises `Refused`."""
    graph = _Graph(folder=content.path.parent if content.path else None)
    parts = wire.grouped(wire.message(content), (1, 7, 8, 20, 25))
    if not parts[7] or not parts[1]:
        raise refused("broken", "It holds no graph, or is cut off before it.", advice=_FETCH)
    for part in wire.messages(parts[25]):
        _function(part, graph)
    for part in wire.messages(parts[7]):
        _walk_graph(part, graph)
    for training in wire.messages(parts[20]):
        inner = wire.grouped(training, (1, 2))
        for part in wire.messages(inner[1] + inner[2]):
            _walk_graph(part, graph)
    _require_finite(graph)
    versions = [wire.grouped(part, (1, 2)) for part in wire.messages(parts[8])]
    told = [
        int(v[2][-1]) for v in versions if v[2] and isinstance(v[2][-1], int) and wire.text(v[1]) in ("", "ai.onnx")
    ]
    return graph, max(told, default=0)


def data_files(content: Content) -> set[str]:
    """Names of the files beside a model that hold its data, or none where it cannot be read."""
    return walked(content)[0].places


def _walk_graph(part: wire.Message, graph: _Graph) -> None:
    parts = wire.grouped(part, (1, 5, 15))
    for tensor in wire.messages(parts[5]):
        _tensor(tensor, graph)
    for sparse in wire.messages(parts[15]):
        _sparse(sparse, graph)
    for node in wire.messages(parts[1]):
        _node(node, graph)


def _node(part: wire.Message, graph: _Graph) -> None:
    parts = wire.grouped(part, (4, 5, 7))
    named = (_domain(parts[7]), wire.text(parts[4]))
    graph.used[named] = graph.used.get(named, 0) + 1
    for attribute in wire.messages(parts[5]):
        inner = wire.grouped(attribute, (5, 6, 10, 11, 22, 23))
        for tensor in wire.messages(inner[5] + inner[10]):
            _tensor(tensor, graph)
        for sparse in wire.messages(inner[22] + inner[23]):
            _sparse(sparse, graph)
        for body in wire.messages(inner[6] + inner[11]):
            _walk_graph(body, graph)


def _domain(values: Iterable[int | wire.Message]) -> str:
    domain = wire.text(values)
    return "" if domain == "ai.onnx" else domain


def _function(part: wire.Message, graph: _Graph) -> None:
    parts = wire.grouped(part, (1, 7, 10))
    inside = _Graph(folder=graph.folder, places=graph.places)
    for node in wire.messages(parts[7]):
        _node(node, inside)
    graph.functions[_domain(parts[10]), wire.text(parts[1])] = inside.used


def _require_finite(graph: _Graph) -> None:
    """Functions are replaced by their bodies when a model is opened: none may hold itself, nor grow without end."""
    sizes: dict[Named, int] = {}
    open_: set[Named] = set()

    def size(named: Named) -> int:
        if named not in graph.functions:
            return 1
        if named in open_ or len(open_) > 100:
            raise refused("onnx-function", f"Function '{named[1]}' calls itself.", where=named[1])
        if named not in sizes:
            open_.add(named)
            sizes[named] = sum(count * size(inner) for inner, count in graph.functions[named].items())
            open_.remove(named)
        return sizes[named]

    total = sum(count * size(named) for named, count in graph.used.items())
    if max([total, *(size(named) for named in graph.functions)]) > _MOST_NODES:
        raise refused("onnx-function", f"Its functions unfold to more than {_MOST_NODES:,} operators.")


def _sparse(part: wire.Message, graph: _Graph) -> None:
    parts = wire.grouped(part, (1, 2, 3))
    for tensor in wire.messages(parts[1] + parts[2]):
        _tensor(tensor, graph)
    _count([wire.signed(side) for side in wire.integers(parts[3])], "a sparse tensor", part.start)


def _tensor(part: wire.Message, graph: _Graph) -> None:
    """A tensor's data must be exactly as large as its shape and type say."""
    parts = wire.grouped(part, (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 14))
    name = wire.text(parts[8])[:80]
    count = _count([wire.signed(side) for side in wire.integers(parts[1])], name, part.start)
    code = parts[2][-1] if parts[2] else 0
    if not isinstance(code, int) or (code not in _BITS and code != _TEXTS) or parts[3]:
        raise _wrong(name, f"has the unknown type {code}, or comes in segments", part.start)
    if parts[14] and parts[14][-1] == 1:
        _outside(parts[13], name, -(-count * _BITS.get(code, 8) // 8), graph)
        return
    if parts[9]:
        (raw,) = list(wire.messages(parts[9]))[-1:]
        if code == _TEXTS or raw.size != -(-count * _BITS[code] // 8):
            raise _wrong(name, f"has {raw.size:,} bytes for {count:,} elements of type {code}", part.start)
        return
    there = _elements(parts, code)
    packed = _PER_NUMBER.get(code, 1)
    if there != -(-count // packed):
        raise _wrong(name, f"has {there * packed:,} elements where its shape says {count:,}", part.start)


def _count(dims: list[int], name: str, byte: int) -> int:
    count = 1
    for side in dims:
        count *= side
        if side < 0 or count >= 2**63 or len(dims) > 64:
            raise _wrong(name, f"has the impossible shape {str(dims)[:80]}", byte)
    return count


def _elements(parts: Mapping[int, list[int | wire.Message]], code: int) -> int:
    """Elements of a tensor whose data stand in the fields of its type."""
    if code == _TEXTS:
        return len(parts[6])
    fixed = {1: (4, 4, 1), 14: (4, 4, 2), 11: (10, 8, 1), 15: (10, 8, 2)}
    if code in fixed:
        number, size, each = fixed[code]
        return sum(value.size // size if isinstance(value, wire.Message) else 1 for value in parts[number]) // each
    number = 7 if code == 7 else 11 if code in (12, 13) else 5
    there = sum(_ends(value) if isinstance(value, wire.Message) else 1 for value in parts[number])
    return there


def _ends(part: wire.Message) -> int:
    """Varints in a packed field: bytes below 128 end one."""
    low, found = bytes(range(128)), 0
    for start in range(part.start, part.stop, 2**16):
        piece = part.reader.read(start, min(2**16, part.stop - start))
        found += len(piece) - len(piece.translate(None, low))
    return found


def _outside(entries: Iterable[int | wire.Message], name: str, size: int, graph: _Graph) -> None:
    """Data beside the model: the file must be plain, in the folder, and hold what is taken from it."""
    facts: dict[str, str] = {}
    for entry in wire.messages(entries):
        parts = wire.grouped(entry, (1, 2))
        facts[wire.text(parts[1])] = wire.text(parts[2])
    strange = set(facts) - _EXTERNAL_KEYS
    if strange:
        reason = f"Tensor '{name}' gives its outside data the unknown property '{min(strange)[:40]}'."
        raise refused("onnx-external-key", reason, where=name)
    place = facts.get("location", "")
    graph.places.add(place)
    found = strays(place) if graph.folder is None else beside(graph.folder, place)
    if isinstance(found, str):
        rule = "onnx-external-missing" if found == "is not there" else "onnx-external-path"
        raise refused(rule, f"Tensor '{name}' takes its data from '{place[:120]}', which {found}.", where=name)
    offset, length = (facts.get(key, default) for key, default in (("offset", "0"), ("length", str(size))))
    if not (offset.isdecimal() and length.isdecimal() and len(offset + length) < 40) or int(length) != size:
        raise _wrong(name, f"takes '{length[:20]}' bytes at '{offset[:20]}' of '{place}', but needs {size:,}", None)
    if found is not None and int(offset) + size > found:
        raise _wrong(name, f"takes {size:,} bytes at {int(offset):,} of '{place}', which has only {found:,}", None)


def _wrong(name: str, what: str, byte: int | None) -> Exception:
    return refused("onnx-tensor", f"Tensor '{name}' {what}.", where=name, byte=byte, advice=_FETCH)


def _strangers(graph: _Graph, newest: int) -> Iterator[Finding]:
    used = set(graph.used).union(*graph.functions.values()) - set(graph.functions)
    for domain, name in sorted(used):
        if name in PYTHON:
            reason = f"Operator '{name[:60]}' runs Python code when the model is used."
            yield Finding(verdict="reject", rule="onnx-python", reason=reason, where=name[:60])
        elif domain in OPERATORS and (name not in OPERATORS[domain]) and newest <= NEWEST:
            reason = f"Operator '{name[:60]}' is none that ONNX has."
            advice = "The file is damaged or made for a program of its own; ask where it comes from."
            yield Finding(verdict="reject", rule="onnx-operator", reason=reason, where=name[:60], advice=advice)
        elif domain not in NATIVE and name not in OPERATORS.get(domain, ()):
            reason = f"Operator '{domain[:60] or 'ai.onnx'}:{name[:60]}' needs a library of operators, which is code."
            advice = "Open it only with a library of operators that you know and trust."
            yield Finding(verdict="ask", rule="onnx-custom", reason=reason, where=name[:60], advice=advice)
