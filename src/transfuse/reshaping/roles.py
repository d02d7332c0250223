"""What the operators of a traced graph ask of the axes that they see, when units are copied or taken away.

Letters: B examples, c channels, h w space, N tokens, D features.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import fx

from transfuse.reshaping.units import Orders
from transfuse.tracing.calls import Axes, operator_of
from transfuse.tracing.terms import Term, normal
from transfuse.tracing.walking import Walked

_LINEAR = {"linear", "conv1d", "conv2d", "conv3d"}
_MATRICES = {"matmul", "mm", "bmm", "addmm", "baddbmm"}
_VIEWS = {"view", "reshape", "_unsafe_view", "flatten", "unflatten"}
_PARTS = {"split", "split_with_sizes", "chunk", "slice", "cat"}
_SPREAD = {"mean", "var", "std", "var_mean", "std_mean"}
_ADDED = {
    "sum",
    "prod",
    "logsumexp",
    "linalg_vector_norm",
    "norm",
    "softmax",
    "_softmax",
    "log_softmax",
    "_log_softmax",
}


@dataclass(frozen=True, kw_only=True)
class Roles:
    """Numbers of units by what is done to them."""

    summed_by: Mapping[tuple[str, int], None]
    """Tensors, and their axes, over which a layer sums: copies of a unit share its weight there."""
    normed: Mapping[int, str]
    """Units whose mean or variance is taken: copied all equally often, or the statistics change. With the operator."""
    still: Mapping[int, str]
    """Units that are compared or added up without weights: their number is part of the function."""
    counted: tuple["Counted", ...]


@dataclass(frozen=True, kw_only=True)
class Counted:
    """An operator whose module holds the sizes of what it sees."""

    module: str
    """Path in the network."""
    operator: str
    axes: tuple[Term, ...]
    """That the operator counts: channels of what it is given, or what it splits and joins."""
    groups: int = 1


@dataclass
class _Found:
    orders: Orders
    summed_by: dict[tuple[str, int], None] = field(default_factory=dict)
    normed: dict[int, str] = field(default_factory=dict)
    still: dict[int, str] = field(default_factory=dict)
    counted: list[Counted] = field(default_factory=list)

    def mark(self, where: dict[int, str], terms: Any, told: str) -> None:
        for term in terms:
            for number in self.orders.of(term):
                where.setdefault(number, told)


def roles_of(walked: Walked, orders: Orders) -> Roles:
    """Read every operator of the graph once."""
    found = _Found(orders)
    signature = walked.program.graph_signature
    states = {**signature.inputs_to_parameters, **signature.inputs_to_buffers}
    for node in walked.program.graph.nodes:
        if node.op == "call_function" and node.meta.get("val") is not None:
            _read(node, _Seen(walked, states, node), found)
    return Roles(summed_by=found.summed_by, normed=found.normed, still=found.still, counted=tuple(found.counted))


class _Seen:
    """Arguments of a node by their names, as axes; private."""

    def __init__(self, walked: Walked, states: Mapping[str, str], node: fx.Node) -> None:
        self.walked, self.states, self.node = walked, states, node
        schema = getattr(node.target, "_schema", None)
        names = [argument.name for argument in schema.arguments] if schema is not None else []
        self.given: dict[str, Any] = {**dict(zip(names, node.args, strict=False)), **node.kwargs}
        stack = list((node.meta.get("nn_module_stack") or {}).values())
        self.module = stack[-1][0] if stack else ""

    def axes(self, name: str) -> Axes:
        return self.axes_of(self.given.get(name))

    def axes_of(self, value: Any) -> Axes:
        if not isinstance(value, fx.Node):
            return []
        found = self.walked.states.get(self.states.get(value.name, ""), self.walked.nodes.get(value.name))
        return [normal(axis) for axis in found] if found is not None else []

    def state(self, name: str) -> str:
        """The name of the parameter that is given, or nothing."""
        value = self.given.get(name)
        return self.states.get(value.name, "") if isinstance(value, fx.Node) else ""


def _read(node: fx.Node, seen: _Seen, found: _Found) -> None:
    name = operator_of(node)
    name = name if name in _READERS else name.rstrip("_")
    if reader := _READERS.get(name):
        reader(name, seen, found)


def _linear(name: str, seen: _Seen, found: _Found) -> None:
    weight, x = seen.axes("weight"), seen.axes("input")
    if not weight or not x:
        return
    own, groups = seen.state("weight"), int(seen.given.get("groups", 1) or 1)
    if own:
        found.summed_by[own, 1] = None
    else:
        found.mark(found.still, [weight[1]], f"a weight of {seen.module or 'the network'} is computed")
    if name != "linear":
        found.counted.append(Counted(module=seen.module, operator="conv", axes=(x[1],), groups=groups))


def _transposed(name: str, seen: _Seen, found: _Found) -> None:
    if own := seen.state("weight"):
        found.summed_by[own, 0] = None
    x = seen.axes("input")
    if x:
        found.counted.append(Counted(module=seen.module, operator="conv", axes=(x[1],)))


def _matrices(name: str, seen: _Seen, found: _Found) -> None:
    names = ("mat1", "mat2") if name == "addmm" else ("batch1", "batch2") if name == "baddbmm" else ()
    left, right = names or (("self", "mat2") if name in ("mm", "bmm") else ("self", "other"))
    a, b = seen.axes(left), seen.axes(right)
    if seen.state(right) and len(b) > 1:
        found.summed_by[seen.state(right), len(b) - 2] = None
    elif seen.state(left) and a:
        found.summed_by[seen.state(left), len(a) - 1] = None
    elif a:
        found.mark(found.still, [a[-1]], f"it is compared in {seen.module}")


def _attention(name: str, seen: _Seen, found: _Found) -> None:
    for given in ("query", "value"):
        axes = seen.axes(given)
        if axes:
            found.mark(found.still, [axes[-1]], f"the attention of {seen.module} is scaled by its number")


def _einsum(name: str, seen: _Seen, found: _Found) -> None:
    left, _, right = str(seen.given["equation"]).replace(" ", "").partition("->")
    tensors = list(seen.given["tensors"])
    letters = left.split(",")
    for letter in dict.fromkeys("".join(letters)):
        own = [(value, own.index(letter)) for value, own in zip(tensors, letters, strict=True) if letter in own]
        if letter in right or len(own) < 2:
            continue
        states = [(seen.states[v.name], place) for v, place in own if v.name in seen.states]
        if states:
            found.summed_by[states[0]] = None
        else:
            found.mark(
                found.still, [seen.axes_of(v)[place] for v, place in own[:1]], f"it is compared in {seen.module}"
            )


def _layer_norm(name: str, seen: _Seen, found: _Found) -> None:
    x = seen.axes("input")
    count = len(seen.given["normalized_shape"])
    if x:
        found.mark(found.normed, x[-count:], f"the norm {seen.module} takes its mean")
        found.counted.append(Counted(module=seen.module, operator="layer_norm", axes=tuple(x[-count:])))


def _group_norm(name: str, seen: _Seen, found: _Found) -> None:
    x = seen.axes("input")
    if not x:
        return
    groups = int(seen.given["num_groups"])
    within = _behind(x[1], groups)
    found.mark(found.normed, within, f"the norm {seen.module} takes its mean")
    found.counted.append(Counted(module=seen.module, operator="group_norm", axes=(x[1],), groups=groups))


def _behind(term: Term, size: int) -> list[Term]:
    """Factors of a product behind those that make up `size`."""
    factors = list(getattr(normal(term), "factors", (term,)))
    while size > 1 and factors:
        size //= factors.pop(0).size
    return factors


def _batch_norm(name: str, seen: _Seen, found: _Found) -> None:
    x = seen.axes("input")
    if len(x) > 1:
        found.counted.append(Counted(module=seen.module, operator="batch_norm", axes=(x[1],)))


def _reduced(name: str, seen: _Seen, found: _Found) -> None:
    x = seen.axes("self") or seen.axes("input")
    dims = seen.given.get("dim")
    numbers = range(len(x)) if dims is None or dims == [] else dims if isinstance(dims, list | tuple) else [dims]
    terms = [x[int(dim)] for dim in numbers] if x else []
    if name in _SPREAD:
        found.mark(found.normed, terms, f"its mean is taken in {seen.module or 'the network'}")
    else:
        found.mark(found.still, terms, f"it is added up in {seen.module or 'the network'}")


def _cut(name: str, seen: _Seen, found: _Found) -> None:
    """Views, parts and what is joined are written with numbers that a module may hold, such as that of its heads."""
    values = [*seen.node.all_input_nodes, seen.node]
    axes = [axis for value in values for axis in seen.axes_of(value) if found.orders.of(axis)]
    if axes:
        found.counted.append(Counted(module=seen.module, operator="cut", axes=tuple(axes)))


Reader = Callable[[str, _Seen, _Found], None]
_NAMES: Mapping[Reader, set[str]] = {
    _linear: _LINEAR,
    _transposed: {"conv_transpose1d", "conv_transpose2d", "conv_transpose3d"},
    _matrices: _MATRICES,
    _attention: {"scaled_dot_product_attention"},
    _einsum: {"einsum"},
    _layer_norm: {"layer_norm", "rms_norm"},
    _group_norm: {"group_norm"},
    _batch_norm: {"batch_norm", "instance_norm", "prelu"},
    _reduced: _SPREAD | _ADDED,
    _cut: _VIEWS | _PARTS,
}
_READERS: Mapping[str, Reader] = {name: reader for reader, names in _NAMES.items() for name in names}
