"""Cutting a body into a frozen prefix and a suffix, and ordering its parameters from input to output.

The body is traced (torch.fx) with its blocks as leaves. Between two blocks lies a place to cut when exactly one
tensor crosses it. Letters: B pictures.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Protocol, runtime_checkable

import torch
from timm.models._features_fx import get_notrace_functions
from torch import fx, nn
from torch.nn import functional

from transfuse.core import tables
from transfuse.core.errors import SourceError


@runtime_checkable
class Layered(Protocol):
    """A body that knows its own layers, and is therefore never traced."""

    def layer_names(self) -> tuple[str, ...]:
        """Depths at which it can be read, shallow to deep; without `final`."""
        ...

    def at(self, names: tuple[str, ...]) -> nn.Module:
        """A module that gives the pooled features (B, D) at each of `names`, `final` among them, as a tuple."""
        ...

    def layer_of_parameter(self) -> dict[str, int]:
        """As `stage_of_parameter`."""
        ...


def depths(body: nn.Module) -> tuple[str, ...]:
    """Names of the places at which `split_at` can cut, shallow to deep; none when the body cannot be traced."""
    if isinstance(body, Layered):
        return body.layer_names()
    try:
        return tuple(_cuts(_traced(body)))
    except SourceError:
        return ()


def split_at(body: nn.Module, depth: str) -> tuple[nn.Module, nn.Module]:
    """Prefix and suffix with suffix(prefix(x)) == body(x) exactly, sharing the body's parameters.

    depth: one of `depths(body)`, or the name of a group of blocks such as `layer3`: the cut comes after its last.
    Both keep the body's names of parameters, and follow `.train()` and `.eval()`.
    Raises `UnknownName`; `SourceError` when the body cannot be traced.
    """
    traced = _traced(body)
    cuts = _cuts(traced)
    name = resolved(depth, tuple(cuts))
    return _part(traced, None, [cuts[name]]), _part(traced, cuts[name], [None])


def segments(body: nn.Module, names: Sequence[str]) -> list[nn.Module]:
    """The body in parts, cut at these depths (shallow to deep): each takes what the one before it gives.

    They share the body's parameters. Raises `UnknownName`; `SourceError` when the body cannot be traced.
    """
    traced = _traced(body)
    cuts = _cuts(traced)
    places = [None, *(cuts[resolved(name, tuple(cuts))] for name in names), None]
    return [_part(traced, begin, [end]) for begin, end in pairwise(places)]


def at_depths(body: nn.Module, wanted: tuple[str, ...]) -> nn.Module:
    """A module that gives, in one pass, the values at several depths (`final` is the body's output) as a tuple."""
    if wanted == ("final",):
        return _Single(body)
    if isinstance(body, Layered):
        known = body.layer_names()
        return body.at(tuple(name if name == "final" else resolved(name, known) for name in wanted))
    traced = _traced(body)
    cuts = _cuts(traced)
    values = [None if name == "final" else cuts[resolved(name, tuple(cuts))] for name in wanted]
    part = _part(traced, None, values)
    return _Single(part) if len(wanted) == 1 else part


def resolved(depth: str, known: tuple[str, ...]) -> str:
    """The place to cut that a depth means; raises `UnknownName`."""
    inside = [name for name in known if name == depth or name.startswith(f"{depth}.")]
    if not inside:
        raise tables.unknown("depth of this network", depth, known)
    return inside[-1]


def stage_of_parameter(body: nn.Module) -> dict[str, int]:
    """Layer index of every parameter, 0 at the input, for rates that decay from output to input.

    Blocks count as one layer, and so do a convolution and its normalisation. A body that cannot be traced is ordered
    by the order of its modules.
    """
    if isinstance(body, Layered):
        return body.layer_of_parameter()
    try:
        traced = _traced(body)
    except SourceError:
        return _by_registration(body)
    return _by_use(body, traced)


class _Single(nn.Module):
    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x_Bchw: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.body(x_Bchw),)


@dataclass(frozen=True, kw_only=True)
class _Traced:
    graph: fx.Graph
    modules: dict[str, Any]
    """What the graph's nodes refer to, by name: modules, parameters, buffers."""


@dataclass(frozen=True, kw_only=True)
class _Cut:
    place: int
    """Index of the first node of the suffix."""
    value: fx.Node
    """The one tensor that crosses."""


class _Tracer(fx.Tracer):
    """Enters containers and stages (modules that only string blocks together); blocks are leaves."""

    def __init__(self, enter_stages: bool) -> None:
        super().__init__(autowrap_functions=tuple(get_notrace_functions()))
        self._enter_stages = enter_stages

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        container = isinstance(m, nn.Sequential | nn.ModuleList) and len(m) > 0
        stage = self._enter_stages and type(m).__name__.endswith(("Stage", "BasicLayer"))
        return not (container or stage or module_qualified_name == "net")


def _traced(body: nn.Module) -> _Traced:
    mode = body.training
    problem: Exception | None = None
    body.eval()
    try:
        for enter_stages in (True, False):
            try:
                return _training_aware(body, _one_input(_Tracer(enter_stages).trace(body)))
            except Exception as error:  # tracing runs the network's code with stand-ins; anything may happen
                problem = error
    finally:
        body.train(mode)
    raise SourceError(
        f"{type(body).__name__} cannot be cut into stages ({str(problem)[:200]}). Use the method 'finetune' or 'probe',"
        " which need no cut."
    ) from problem


def _one_input(graph: fx.Graph) -> fx.Graph:
    """Optional arguments of the network's forward take their defaults."""
    extra = [node for node in graph.nodes if node.op == "placeholder"][1:]
    defaults = {node: node.args[0] if node.args else None for node in extra}
    for node in graph.nodes:
        node.args = fx.map_arg(node.args, lambda value: defaults.get(value, value))
        node.kwargs = fx.map_arg(node.kwargs, lambda value: defaults.get(value, value))
    for node in extra:
        graph.erase_node(node)
    return graph


def _training_aware(body: nn.Module, graph: fx.Graph) -> _Traced:
    """Functional dropout, traced in evaluation mode, becomes a module that follows `.train()`."""
    modules: dict[str, Any] = {}
    for node in list(graph.nodes):
        if node.op == "call_function" and "training" in node.kwargs:
            if node.target is not functional.dropout:
                raise SourceError(f"{getattr(node.target, '__name__', node.target)} has a fixed mode")
            modules[f"dropout_{node.name}"] = nn.Dropout(node.kwargs.get("p", node.args[1] if node.args[1:] else 0.5))
            with graph.inserting_before(node):
                replacement = graph.create_node("call_module", f"dropout_{node.name}", (node.args[0],))
            node.replace_all_uses_with(replacement)
            graph.erase_node(node)
        elif node.op == "call_module":
            modules[str(node.target)] = body.get_submodule(str(node.target))
        elif node.op == "get_attr":
            modules[str(node.target)] = _attribute(body, str(node.target))
    return _Traced(graph=graph, modules=modules)


def _attribute(body: nn.Module, name: str) -> Any:
    owner, _, last = name.rpartition(".")
    return getattr(body.get_submodule(owner), last)


def _cuts(traced: _Traced) -> dict[str, _Cut]:
    """Places to cut by name, in order. A place is called after the last module before it."""
    nodes = list(traced.graph.nodes)
    position = {node: index for index, node in enumerate(nodes)}
    last_use = {node: max((position[user] for user in node.users), default=-1) for node in nodes}
    cuts: dict[str, _Cut] = {}
    for place in _starts(traced, nodes):
        crossing = [node for node in nodes[:place] if node.op != "get_attr" and last_use[node] >= place]
        before = [str(node.target) for node in nodes[:place] if node.op == "call_module"]
        if len(crossing) == 1 and crossing[0].op != "placeholder" and before:
            cuts.setdefault(before[-1], _Cut(place=place, value=crossing[0]))
    return cuts


def _starts(traced: _Traced, nodes: list[fx.Node]) -> list[int]:
    """Indices of nodes where a layer begins: a module with parameters that does not belong to the one before."""
    starts, previous = [], None
    for index, node in enumerate(nodes):
        module = traced.modules[str(node.target)] if node.op == "call_module" else None
        if module is None or not any(True for _ in module.parameters()):
            continue
        follows = _is_norm(module) and previous is not None and not _is_block(previous)
        if not follows:
            starts.append(index)
        previous = module
    return starts


def _is_norm(module: nn.Module) -> bool:
    return "Norm" in type(module).__name__ and "Conv" not in type(module).__name__


def _is_block(module: nn.Module) -> bool:
    return not _is_norm(module) and any(True for _ in module.children())


def _part(traced: _Traced, begin: _Cut | None, ends: list[_Cut | None]) -> fx.GraphModule:
    """The nodes from one cut (None: the input) to others (None: the output), sharing the body's parameters."""
    nodes = list(traced.graph.nodes)
    graph = fx.Graph()
    copies: dict[fx.Node, fx.Node] = {}
    if begin is not None:
        copies[begin.value] = graph.placeholder("x")
    last = len(nodes) - 1 if None in ends else max(end.place for end in ends if end)
    span = nodes[begin.place if begin else 0 : last]
    if begin is not None:
        inside = set(nodes[begin.place :])
        span = [node for node in nodes[: begin.place] if node.op == "get_attr" and inside & node.users.keys()] + span
    for node in span:
        copies[node] = graph.node_copy(node, lambda original: copies[original])
    values = tuple(fx.map_arg(nodes[-1].args[0] if end is None else end.value, copies.__getitem__) for end in ends)
    graph.output(values if len(values) > 1 else values[0])
    used = {str(node.target) for node in graph.nodes if node.op in ("call_module", "get_attr")}
    return fx.GraphModule({name: traced.modules[name] for name in used}, graph).eval()


def _by_use(body: nn.Module, traced: _Traced) -> dict[str, int]:
    nodes = list(traced.graph.nodes)
    starts = _starts(traced, nodes)
    stages: dict[str, int] = {}
    for index, node in enumerate(nodes):
        stage = max(sum(start <= index for start in starts) - 1, 0)
        if node.op == "get_attr":
            stages.setdefault(str(node.target), stage)
        elif node.op == "call_module":
            for name, _ in traced.modules[str(node.target)].named_parameters():
                stages.setdefault(f"{node.target}.{name}", stage)
    return {name: stages.get(name, 0) for name, _ in body.named_parameters()}


def _by_registration(body: nn.Module) -> dict[str, int]:
    owners = [name.rpartition(".")[0] for name, _ in body.named_parameters()]
    rank = {owner: index for index, owner in enumerate(_unique(owners))}
    return {name: rank[name.rpartition(".")[0]] for name, _ in body.named_parameters()}


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
