"""The containers of a pickle being filled: what may take what, how deep, and with which keys."""

from typing import TYPE_CHECKING, Any

from transfuse.weights.scanning.pickled.literals import broken
from transfuse.weights.scanning.pickled.values import Nest, Node, joined

if TYPE_CHECKING:
    from transfuse.weights.scanning.pickled.machine import Machine

DEEPEST = 2_000  # picklers stop at 1000
_PLANTED = "__setstate__", "__class__", "__reduce__", "__reduce_ex__", "__dict__", "__getattr__"


def as_tuple(machine: "Machine", items: list[Any]) -> None:
    value = joined(items)
    if value.__class__ is Nest:
        machine.objects += 1
        _check_depth(machine, value.depth)  # type: ignore[attr-defined]
    machine.stack.append(value)


def short_tuple(machine: "Machine", count: int) -> None:
    stack = machine.stack
    if len(stack) < count:
        raise IndexError("the stack is empty")
    items = stack[-count:]
    del stack[-count:]
    as_tuple(machine, items)


def _check_depth(machine: "Machine", depth: int) -> None:
    if depth > DEEPEST:
        raise machine.refuse("pickle-depth", f"Its objects lie more than {DEEPEST} deep in each other.")


def push(machine: "Machine", kind: str, items: list[Any]) -> None:
    node = machine.node(kind)
    if kind == "dict":
        _pairs(machine, node, items)
    else:
        _hold(machine, node, items)
    machine.stack.append(node)


def _hold(machine: "Machine", node: Node, items: list[Any]) -> None:
    node.hold(items, machine.kept)
    _check_depth(machine, node.depth)


def _pairs(machine: "Machine", node: Node, items: list[Any]) -> None:
    if len(items) % 2:
        raise broken(machine, "a key has no value")
    for place in range(0, len(items), 2):
        key = items[place]
        if key.__class__ is not str:
            if not node.planting and key.__class__ is Node:
                node.planting = "a name that is computed"
        elif key in _PLANTED:
            node.planting = key
        elif key == "_instantiator":
            _instantiator(machine, items[place + 1])
    _hold(machine, node, items)


def _instantiator(machine: "Machine", value: Any) -> None:
    """Lightning calls what a checkpoint's hyper-parameters name here."""
    if value.__class__ is str and value.endswith("pytorch.cli.instantiate_module"):
        machine.asked.setdefault(f"{value} (named by a hyper-parameter)", machine.stream.tell())
        return
    named = value if value.__class__ is str else "something"
    raise machine.refuse("lightning-instantiator", f"Its hyper-parameters name '{named}' to be called on loading.")


def _target(machine: "Machine", kinds: str, what: str) -> Node:
    node = machine.stack[-1]
    if node.__class__ is not Node or (node.kind not in kinds.split() and not _is_asked(node)):
        rule = "pickle-target" if node.__class__ is Node else "pickle-stuck"
        raise machine.refuse(rule, f"Its pickle {what} something that cannot take it: no pickler does that.")
    if node.closed:
        raise machine.refuse("pickle-order", "Its pickle changes an object that was finished: no pickler does that.")
    return node


def _is_asked(node: Node) -> bool:
    return node.kind == "object" and node.info is not None and node.info.asked


def append(machine: "Machine", items: list[Any]) -> None:
    _hold(machine, _target(machine, "list", "appends to"), items)


def set_items(machine: "Machine", items: list[Any]) -> None:
    _pairs(machine, _target(machine, "dict", "sets keys of"), items)


def add_items(machine: "Machine") -> None:
    items = machine.since_mark()
    _hold(machine, _target(machine, "set", "adds to"), items)
