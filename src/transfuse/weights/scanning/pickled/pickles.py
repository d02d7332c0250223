"""Pickles on their own, with the arrays that joblib lays between their instructions.

joblib writes a `NumpyArrayWrapper` and, right behind the instruction that gives it its state, the bytes of the array
(`joblib/numpy_pickle.py`): padding to its alignment first, or a pickle of its own for an array of objects.
"""

from collections.abc import Iterator
from math import prod

from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.findings import Finding, Refused, refused
from transfuse.weights.scanning.pickled.expansion import ruinous
from transfuse.weights.scanning.pickled.literals import exactly, skip
from transfuse.weights.scanning.pickled.machine import STOPPING, Machine
from transfuse.weights.scanning.pickled.values import Node, is_int

_WRAPPER = "joblib.numpy_pickle.NumpyArrayWrapper"
_INNER_PICKLES = 10_000


def pickle(content: Content) -> Iterator[Finding]:
    """One pickle from the first byte to the last."""
    content.stream.seek(0)
    machine = Machine(content.stream, content.size)
    machine.finished = _array_behind
    yield from walked(machine)
    place = content.stream.tell()
    if machine.arrays:
        yield from _without_joblib(content)
    if place != content.size:
        yield Finding(
            verdict="reject",
            rule="pickle-trailing",
            reason=f"{content.size - place} bytes follow its pickle, which nothing accounts for.",
            byte=place,
        )
        yield from _behind(content, place)


def _without_joblib(content: Content) -> Iterator[Finding]:
    """What Python's own unpickler would do, which takes the bytes of the first array for instructions.

    It stops there: no byte count of the padding is an instruction, and hardly any number is.
    """
    content.stream.seek(0)
    try:
        Machine(content.stream, content.size).run()
    except Refused as refusal:
        if refusal.finding.rule not in STOPPING:
            yield refusal.finding


def walked(machine: Machine) -> Iterator[Finding]:
    """Play a pickle through to its end; the finding that its objects are code. Raises `Refused`."""
    start = machine.stream.tell()
    root = machine.run()
    if ruinous(root, machine.stream.tell() - start):
        raise machine.refuse("pickle-expansion", "Its objects share each other so that following them never ends.")
    if machine.asked:
        yield _question(machine)


def _question(machine: Machine) -> Finding:
    names = list(machine.asked)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return Finding(
        verdict="ask",
        rule="pickle-code",
        reason=f"It makes objects of {', '.join(names[:3])}{more}: opening it runs code of these libraries.",
        where=machine.where,
        byte=machine.asked[names[0]],
        advice="Open it only if you trust where it comes from; `transfuse convert` takes tensors without that.",
    )


def _behind(content: Content, place: int) -> Iterator[Finding]:
    """What a second pickle behind the first would use: some readers go on."""
    content.stream.seek(place)
    try:
        yield from walked(Machine(content.stream, content.size))
    except Refused as refusal:
        if refusal.finding.rule != "pickle-broken":
            yield refusal.finding


def _array_behind(machine: Machine, node: Node) -> Node:
    """Pass over the array that follows a wrapper of joblib's."""
    if node.kind != "object" or not node.info.name.endswith(_WRAPPER):
        return node
    state = node.items[-1]
    shape, kind = (state.get("shape"), state.get("dtype")) if state.__class__ is Node else (None, None)
    if (
        kind.__class__ is not Node
        or kind.kind != "dtype"
        or not isinstance(shape, tuple)
        or not all(is_int(n) for n in shape)
    ):
        raise machine.refuse("joblib-array", "An array of joblib has no shape or no type.")
    size, objects, _ = kind.info  # type: ignore[union-attr]
    machine.arrays += 1
    if objects:
        _pickle_inside(machine)
    else:
        if is_int(state.get("numpy_array_alignment_bytes")):
            skip(machine, exactly(machine, 1)[0])
        skip(machine, prod(shape) * size)
    return machine.node("array")


def _pickle_inside(machine: Machine) -> None:
    """An array of objects; its names count as the outer pickle's."""
    inner = Machine(machine.stream, machine.end, where=machine.where)
    inner.objects, inner.asked = machine.objects, machine.asked
    if machine.arrays > _INNER_PICKLES:
        raise refused("pickle-size", f"It has more than {_INNER_PICKLES} arrays of objects.", machine.where)
    for _ in walked(inner):
        pass
    machine.objects = inner.objects
