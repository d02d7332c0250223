"""torch's tensors in a pickle: what they claim of their storage must lie in it.

`torch.load` follows offsets, sizes and strides into the mapped file (with `mmap=True` it returned the neighbouring
bytes as weights, torch 2.15), and a stride of 0 makes any number of elements from one.
"""

from typing import TYPE_CHECKING, Any

from transfuse.weights.scanning.pickled.names import ITEM_SIZES
from transfuse.weights.scanning.pickled.values import Node, Symbol, is_int

if TYPE_CHECKING:
    from transfuse.weights.scanning.pickled.machine import Machine

_PACKED = {"QUInt4x2Storage": 2, "QUInt2x4Storage": 4}  # elements in a byte
_EXPANDED = 2**28
"""Elements that a tensor may have beyond those of its storage, through strides of 0."""


def _wrong(machine: "Machine", symbol: Symbol) -> Exception:
    return machine.refuse("pickle-arguments", f"It calls {symbol.name} with arguments that torch never writes.")


def _check_place(machine: "Machine", storage: Any, place: tuple[Any, ...], item_size: float) -> None:
    """Refuse offset, sizes and strides that leave the storage."""
    offset, sizes, strides = place
    if not isinstance(sizes, tuple) or not isinstance(strides, tuple) or len(sizes) != len(strides):
        raise machine.refuse("tensor-shape", "The shape of a tensor is none.")
    numbers = (offset, *sizes, *strides)
    if not all(is_int(number) and 0 <= number < 2**63 for number in numbers):
        raise machine.refuse("tensor-shape", "A tensor has a size, a stride or an offset that is no count.")
    elements = 1
    for size in sizes:
        elements *= size
    last = offset + sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True)) if elements else -1
    held = int(storage.info[1] // item_size)
    if last >= held:
        raise machine.refuse(
            "tensor-outside",
            f"A tensor claims element {last} of a storage that has {held}: it would read what lies beside.",
        )
    if elements > held + _EXPANDED:
        raise machine.refuse("tensor-expanded", f"A tensor claims {elements} elements and holds {held}.")


def _storage(machine: "Machine", symbol: Symbol, value: Any) -> Node:
    if value.__class__ is not Node or value.kind != "storage":
        raise _wrong(machine, symbol)
    return value


def _check_hooks(machine: "Machine", symbol: Symbol, hooks: Any) -> None:
    if hooks is not None and (hooks.__class__ is not Node or hooks.kind != "dict" or hooks.count):
        raise _wrong(machine, symbol)


def tensor(machine: "Machine", symbol: Symbol, arguments: tuple[Any, ...]) -> Node:
    """(storage, offset, size, stride[, requires_grad, hooks[, metadata]])."""
    if not 4 <= len(arguments) <= 7:
        raise _wrong(machine, symbol)
    storage = _storage(machine, symbol, arguments[0])
    _check_place(machine, storage, arguments[1:4], storage.info[0])
    _check_hooks(machine, symbol, arguments[5] if len(arguments) > 5 else None)
    return machine.node("tensor")


def tensor_of_type(machine: "Machine", symbol: Symbol, arguments: tuple[Any, ...]) -> Node:
    """(storage, offset, size, stride, requires_grad, hooks, dtype[, metadata]): types that have no storage class."""
    if not 7 <= len(arguments) <= 8 or not isinstance(arguments[6], Symbol) or arguments[6].name not in ITEM_SIZES:
        raise _wrong(machine, symbol)
    storage = _storage(machine, symbol, arguments[0])
    _check_place(machine, storage, arguments[1:4], ITEM_SIZES[arguments[6].name])
    _check_hooks(machine, symbol, arguments[5])
    return machine.node("tensor")


def quantised(machine: "Machine", symbol: Symbol, arguments: tuple[Any, ...]) -> Node:
    """(storage, offset, size, stride, quantiser, requires_grad, hooks)."""
    if len(arguments) != 7 or not isinstance(arguments[4], tuple):
        raise _wrong(machine, symbol)
    storage = _storage(machine, symbol, arguments[0])
    _check_place(machine, storage, arguments[1:4], storage.info[0] / _PACKED.get(storage.info[2].rpartition(".")[2], 1))
    _check_hooks(machine, symbol, arguments[6])
    return machine.node("tensor")


def wrapped(machine: "Machine", symbol: Symbol, arguments: tuple[Any, ...]) -> Node:
    """A parameter: (tensor, requires_grad[, hooks[, state]])."""
    if not 1 <= len(arguments) <= 4 or getattr(arguments[0], "kind", "") != "tensor":
        raise _wrong(machine, symbol)
    _check_hooks(machine, symbol, arguments[2] if len(arguments) > 2 else None)
    return machine.node("tensor")


def sparse(machine: "Machine", symbol: Symbol, arguments: tuple[Any, ...]) -> Node:
    """(layout, (indices, values, size, ...)); torch checks the indices itself."""
    if len(arguments) != 2 or not isinstance(arguments[1], tuple):
        raise _wrong(machine, symbol)
    return machine.node("tensor")


def meta(machine: "Machine", symbol: Symbol, arguments: tuple[Any, ...]) -> Node:
    """A tensor without data."""
    return machine.node("tensor")


def of_array(machine: "Machine", symbol: Symbol, arguments: tuple[Any, ...]) -> Node:
    """(array or tensor, dtype, device, requires_grad)."""
    if len(arguments) != 4 or getattr(arguments[0], "kind", "") not in ("array", "tensor"):
        raise _wrong(machine, symbol)
    return machine.node("tensor")


def from_type(machine: "Machine", symbol: Symbol, arguments: tuple[Any, ...]) -> Node:
    """(function, class, arguments, state): a tensor with attributes, made by one of the functions here."""
    if len(arguments) != 4 or not isinstance(arguments[0], Symbol) or not isinstance(arguments[2], tuple):
        raise _wrong(machine, symbol)
    function, cls, inner, state = arguments
    calls = {"tensor": tensor, "tensor3": tensor_of_type, "qtensor": quantised, "wrapped": wrapped, "sparse": sparse}
    if function.rule not in calls or not isinstance(cls, Symbol) or (cls.name not in _CLASSES and not cls.asked):
        raise _wrong(machine, symbol)
    for part in state if isinstance(state, tuple) else (state,):
        if part.__class__ is Node and part.planting:
            raise machine.refuse("pickle-planted", f"The state of a tensor sets {part.planting}, which could be code.")
    return calls[function.rule](machine, function, inner)


_CLASSES = {"torch.Tensor", "torch.nn.parameter.Parameter", "torch.nn.parameter.Buffer"}


def unset(machine: "Machine", symbol: Symbol, arguments: tuple[Any, ...]) -> Node:
    """An empty tensor of torch 0.1, which BUILD gives its storage."""
    if arguments:
        raise _wrong(machine, symbol)
    return machine.node("tensor", symbol)


def build(machine: "Machine", node: Node, state: Any) -> Node:
    """The state of a tensor of torch 0.1: (storage, offset, size, stride)."""
    symbol = node.info
    if not isinstance(symbol, Symbol) or not isinstance(state, tuple) or len(state) != 4:
        raise machine.refuse("pickle-build", "It gives a state to a tensor, which has none.")
    return tensor(machine, symbol, state)
