"""From a network to the orders of its units: its traced graph (torch.export) is walked once, from input to output.

Every axis of every parameter begins with an order of its own; the operators then say which orders are one. Inputs,
outputs and constants keep theirs. Where an operator is not known, everything it sees is fixed and the place is named.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx, nn
from torch.export import ExportedProgram
from torch.export.graph_signature import InputKind

from transfuse.core.errors import TransfuseError
from transfuse.tracing.calls import Axes, Call, Tensor, operator_of
from transfuse.tracing.operators import OPERATORS, elementwise
from transfuse.tracing.terms import Leaf, Unclear, fix, fixed, is_fixed, loose, normal
from transfuse.tracing.unifying import collapse


class Untraceable(TransfuseError):
    """A network whose graph cannot be had."""


@dataclass(frozen=True, kw_only=True)
class Walked:
    """A network's graph, and what the axes in it count."""

    program: ExportedProgram
    states: Mapping[str, Axes]
    """Axes of parameters and buffers, by their names in the state dict."""
    nodes: Mapping[str, Axes]
    """Axes of every tensor that the graph makes, by the node's name."""
    unknown: tuple[str, ...]
    """What was not understood, and where."""


def traced(network: nn.Module, sample: torch.Tensor) -> ExportedProgram:
    """The graph of a network for batches of this shape. Raises `Untraceable`."""
    try:
        with torch.no_grad():
            return torch.export.export(network.eval(), (sample,))
    except Exception as error:  # tracing runs the network's own code with stand-ins: anything may happen
        first = str(error).strip().split("\n", 1)[0][:200]
        raise Untraceable(f"{type(network).__name__} cannot be traced ({type(error).__name__}: {first}).") from error


def walked(network: nn.Module, sample: torch.Tensor) -> Walked:
    """The axes of everything in a network's graph. Raises `Untraceable`."""
    program = traced(network, sample)
    walk = _Walk(program, network)
    for node in program.graph.nodes:
        walk.visit(node)
    nodes = {node.name: axes for node, axes in walk.known.items() if isinstance(axes, Tensor)}
    return Walked(program=program, states=walk.states, nodes=nodes, unknown=tuple(dict.fromkeys(walk.unknown)))


class _Walk:
    """Axes of nodes so far; private, since only `walked` makes one."""

    def __init__(self, program: ExportedProgram, network: nn.Module) -> None:
        self.known: dict[fx.Node, Any] = {}
        self.unknown: list[str] = []
        self.states: dict[str, Axes] = {}
        self.inputs = {spec.arg.name: spec for spec in program.graph_signature.input_specs}  # type: ignore[union-attr]
        state = network.state_dict(keep_vars=True)
        self.axes = _of_states(state)

    def visit(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self.known[node] = self._input(node)
        elif node.op == "output":
            fx.map_arg(node.args, lambda value: self._fix(self.known.get(value)))
        elif node.op == "call_function":
            self.known[node] = self._called(node)

    def _input(self, node: fx.Node) -> Any:
        """Parameters and buffers that are saved may be permuted; inputs and constants may not."""
        spec = self.inputs.get(node.name)
        target = spec.target if spec is not None else None
        if spec is not None and spec.kind in (InputKind.PARAMETER, InputKind.BUFFER) and target in self.axes:
            own = self.axes[target]
            self.states |= {name: axes for name, axes in self.axes.items() if axes is own}  # tied ones have several
            return Tensor(own)
        return _still(node.meta.get("val"))

    def _called(self, node: fx.Node) -> Any:
        if getattr(node.target, "__name__", "") == "getitem":
            return self.known[node.args[0]][node.args[1]]  # type: ignore[index]
        if node.meta.get("val") is None:  # a check, which gives nothing
            return None
        call = _call(node, self.known)
        if call is None or not call.shapes:
            return self._not_understood(node)
        operator = OPERATORS.get(call.name) or (elementwise if _is_pointwise(node) else None)
        if not call.tensors():
            return _still(node.meta.get("val"))
        try:
            if operator is None:
                raise Unclear
            found = operator(call)
            many = isinstance(node.meta["val"], list | tuple)
            results = [*found] if found and isinstance(found[0], list) else [found] * len(call.shapes)
            if [[axis.size for axis in axes] for axes in results] != [list(shape) for shape in call.shapes]:  # type: ignore[union-attr]
                raise Unclear
        except (Unclear, IndexError, KeyError, TypeError, ValueError):
            return self._not_understood(node)
        for axes in results:
            for term in list(loose(axes)):  # type: ignore[arg-type]
                collapse(term)
        tensors = [Tensor(map(normal, axes)) for axes in results]  # type: ignore[arg-type]
        return tensors if many else tensors[0]

    def _not_understood(self, node: fx.Node) -> Any:
        inputs = [self.known.get(value) for value in node.all_input_nodes]
        if any(map(_moves, inputs)):
            self.unknown.append(_place(node))
        for value in inputs:
            self._fix(value)
        return _still(node.meta.get("val"))

    def _fix(self, value: Any) -> None:
        if isinstance(value, Tensor):
            for axis in value:
                fix(axis)
        elif isinstance(value, list | tuple):
            for item in value:
                self._fix(item)


def _moves(value: Any) -> bool:
    if isinstance(value, Tensor):
        return not all(map(is_fixed, value))
    return isinstance(value, list | tuple) and any(map(_moves, value))


def _of_states(state: Mapping[str, torch.Tensor]) -> dict[str, Axes]:
    """A new leaf for every axis; tied tensors share theirs."""
    found: dict[str, Axes] = {}
    seen: dict[int, str] = {}
    for name, tensor in state.items():
        first = seen.setdefault(id(tensor), name)
        axes: Axes = [Leaf(size, fixed=not tensor.is_floating_point()) for size in tensor.shape]
        found[name] = axes if first == name else found[first]
    return found


def _still(value: Any) -> Any:
    """Axes that keep their order, for a tensor or several."""
    if isinstance(value, list | tuple):
        return [_still(item) for item in value]
    return Tensor(fixed(int(size)) for size in value.shape) if isinstance(value, torch.Tensor) else None


def _call(node: fx.Node, known: Mapping[fx.Node, Any]) -> Call | None:
    """The operator with its arguments under the names of its schema; None for what is no operator of ATen."""
    schema = getattr(node.target, "_schema", None)
    if schema is None:
        return None
    given: dict[str, Any] = {}
    for i, argument in enumerate(schema.arguments):
        default = argument.default_value if argument.has_default_value() else None
        value = node.args[i] if i < len(node.args) else node.kwargs.get(argument.name, default)
        given[argument.name] = _mapped(value, known)
    name = operator_of(node)
    value = node.meta.get("val")
    results: Sequence[Any] = value if isinstance(value, list | tuple) else [value]
    shapes = tuple(tuple(int(s) for s in r.shape) for r in results if isinstance(r, torch.Tensor))
    return Call(name=name if name in OPERATORS else name.rstrip("_"), given=given, shapes=shapes)


def _mapped(value: Any, known: Mapping[fx.Node, Any]) -> Any:
    """Axes for nodes, also inside lists (which stay lists, whatever torch.fx makes of them)."""
    if isinstance(value, fx.Node):
        return known.get(value)
    return [_mapped(item, known) for item in value] if isinstance(value, list | tuple) else value


def _is_pointwise(node: fx.Node) -> bool:
    return torch.Tag.pointwise in getattr(node.target, "tags", ())


def _place(node: fx.Node) -> str:
    """The operator, and the module in which it stands."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    told = operator_of(node) or getattr(node.target, "__name__", str(node.target))
    where = stack[-1][0] if stack else ""
    return f"{told} in {where}" if where else told
