"""What the calls of a pickle may be: a rule for each kind of name, which looks at the arguments where they matter.

Most constructors are harmless whatever they are given. Not so a tensor, whose sizes and strides are followed without
question by what reads it (CVE-2026-24747), NumPy's types, whose flags say whether bytes are taken for pointers, and
everything that allocates what a number says.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from transfuse.weights.scanning.pickled import arrays, tensors
from transfuse.weights.scanning.pickled.values import Node, Opaque, Symbol, is_bytes, is_text

if TYPE_CHECKING:
    from transfuse.weights.scanning.pickled.machine import Machine

Call = Callable[["Machine", Symbol, tuple[Any, ...]], Any]


def called(machine: "Machine", function: Any, arguments: Any, *, new: bool = False) -> Any:
    """What a call gives. `new` tells that it is `cls.__new__(cls, *arguments)`."""
    if function.__class__ is not Symbol:
        rule = "pickle-call" if getattr(function, "kind", "") == "object" else "pickle-stuck"
        raise machine.refuse(rule, "It calls something that is no imported name.")
    if not isinstance(arguments, tuple):
        raise machine.refuse("pickle-call", f"It calls {function.name} with arguments that are no tuple.")
    call = CALLS.get(function.rule)
    if call is None or (new and function.rule not in _MADE):
        raise machine.refuse("pickle-call", f"It calls {function.name}, which may only be referred to.")
    return call(machine, function, arguments)


def built(machine: "Machine", target: Any, state: Any) -> Any:
    """The target after BUILD, the instruction that hands an object its state."""
    if target.__class__ is not Node:
        raise machine.refuse("pickle-stuck", "It gives a state to something that has none.")
    _check_state(machine, state)
    rule = _BUILT.get(target.kind)
    if rule is None:
        raise machine.refuse("pickle-build", f"It gives a state to a {target.kind}, which has none.")
    return rule(machine, target, state)


def _check_state(machine: "Machine", state: Any) -> None:
    """A state may not change how its object behaves: what BUILD plants as `__setstate__`, the next BUILD calls."""
    for part in state if isinstance(state, tuple) and len(state) == 2 else (state,):
        if part.__class__ is Node and part.planting:
            raise machine.refuse("pickle-planted", f"The state of an object sets {part.planting}, which could be code.")


def wrong(machine: "Machine", symbol: Symbol) -> Exception:
    """The refusal of arguments that no pickler writes."""
    return machine.refuse("pickle-arguments", f"It calls {symbol.name} with arguments that no pickler writes.")


def _plain(machine: "Machine", symbol: Symbol, arguments: tuple[Any, ...]) -> Node:
    return machine.node("plain", symbol)


def _container(kind: str) -> Call:
    def call(machine: "Machine", symbol: Symbol, arguments: tuple[Any, ...]) -> Node:
        if len(arguments) > 1 or (arguments and not isinstance(arguments[0], Node | tuple)):
            raise wrong(machine, symbol)
        node = machine.node(kind, symbol)
        node.hold(arguments)
        if arguments:
            node.planting = "names that are computed"  # which matters only to a state
        return node

    return call


def _deque(machine: "Machine", symbol: Symbol, arguments: tuple[Any, ...]) -> Node:
    return _container("list")(machine, symbol, arguments[:1])


def _defaultdict(machine: "Machine", symbol: Symbol, arguments: tuple[Any, ...]) -> Node:
    factory = arguments[0] if arguments else None
    if len(arguments) > 1 or not (factory is None or (isinstance(factory, Symbol) and factory.name in _FACTORIES)):
        raise machine.refuse("pickle-arguments", "Its defaultdict makes missing values by what is no plain type.")
    return machine.node("dict", symbol)


_FACTORIES = {
    f"{module}.{name}"
    for module in ("builtins", "__builtin__")
    for name in ("list", "dict", "set", "int", "long", "float", "str", "bool", "tuple", "bytes")
} | {"collections.OrderedDict", "collections.Counter"}


def _encode(machine: "Machine", symbol: Symbol, arguments: tuple[Any, ...]) -> Any:
    """Bytes as protocol 2 wrote them."""
    if not arguments or not is_text(arguments[0]) or arguments[1:] not in [("latin1",), ("latin-1",)]:
        raise wrong(machine, symbol)
    text = arguments[0]
    return text.encode("latin-1", "replace") if isinstance(text, str) else Opaque("bytes", -1)


def _bytes(machine: "Machine", symbol: Symbol, arguments: tuple[Any, ...]) -> bytes:
    if arguments:
        raise wrong(machine, symbol)  # a number would be an amount of memory
    return b""


def _bytearray(machine: "Machine", symbol: Symbol, arguments: tuple[Any, ...]) -> Node:
    coded = len(arguments) == 2 and is_text(arguments[0]) and arguments[1] in ("latin-1", "latin1")
    if arguments and not coded and not (len(arguments) == 1 and is_bytes(arguments[0])):
        raise wrong(machine, symbol)
    return machine.node("bytearray")


def _reconstructor(machine: "Machine", symbol: Symbol, arguments: tuple[Any, ...]) -> Any:
    """`object.__new__(cls)`, or a builtin's: how protocols 0 and 1 write any object."""
    if len(arguments) != 3 or not all(isinstance(argument, Symbol) for argument in arguments[:2]):
        raise wrong(machine, symbol)
    cls, base = arguments[:2]
    if not base.name.startswith(("builtins.", "__builtin__.")) or cls.rule not in _MADE:
        raise wrong(machine, symbol)
    return called(machine, cls, (), new=True)


def _object(machine: "Machine", symbol: Symbol, arguments: tuple[Any, ...]) -> Node:
    return machine.node("object", symbol)


CALLS: Mapping[str, Call] = {
    "plain": _plain,
    "list": _container("list"),
    "set": _container("set"),
    "mapping": _container("dict"),
    "defaultdict": _defaultdict,
    "deque": _deque,
    "encode": _encode,
    "bytes": _bytes,
    "bytearray": _bytearray,
    "reconstructor": _reconstructor,
    "class": _object,
    "function": _object,
    "dtype": arrays.dtype,
    "array": arrays.array,
    "scalar": arrays.scalar,
    "frombuffer": arrays.frombuffer,
    "tensor": tensors.tensor,
    "tensor3": tensors.tensor_of_type,
    "qtensor": tensors.quantised,
    "wrapped": tensors.wrapped,
    "sparse": tensors.sparse,
    "meta": tensors.meta,
    "array_tensor": tensors.of_array,
    "from_type": tensors.from_type,
    "old_tensor": tensors.unset,
}
"""Rule of a name: what calling it gives."""
_MADE = {"plain", "list", "set", "mapping", "defaultdict", "deque", "class", "old_tensor"}


def _given(machine: "Machine", target: Node, state: Any) -> Node:
    target.hold([state])
    return target


_BUILT: Mapping[str, Callable[["Machine", Node, Any], Node]] = {
    "object": _given,
    "dict": _given,  # attributes of an ordered dictionary, as `_metadata` of a state dict
    "dtype": arrays.build_dtype,
    "array": arrays.build_array,
    "tensor": tensors.build,
}
