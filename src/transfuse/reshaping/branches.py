"""What a residual block adds to its input, and which parameters must be 0 for it to add nothing: read off its graph.

A block is residual when a way of sums alone leads from what it gives back to what it is given. Each other summand is a
branch, silent when its last step that has parameters is 0: the gain and shift of a norm (Goyal et al., "Accurate, large
minibatch SGD", arXiv 1706.02677, section 5.1), a linear map or convolution, a layer scale. What stands behind that
step must keep 0 at 0.
"""

from collections.abc import Mapping
from typing import Any

from torch import fx
from torch.export import ExportedProgram

from transfuse.tracing.calls import operator_of

_ADDED = {"add", "add_"}
_VIEWS = {
    "alias", "clone", "contiguous", "dropout", "dropout_", "expand", "feature_dropout", "flatten", "movedim", "permute",
    "reshape", "reshape_as", "squeeze", "to", "_to_copy", "transpose", "unflatten", "unsqueeze", "view", "view_as",
}  # fmt: skip
_IDEMPOTENT = {"relu", "relu_", "hardtanh", "hardtanh_", "relu6"}
"""A block that ends in one may be repeated: its copies see what has passed through it already."""
_KEEP_ZERO = _VIEWS | _IDEMPOTENT | {
    "gelu", "gelu_", "silu", "silu_", "tanh", "tanh_", "hardswish", "hardswish_", "elu", "elu_", "leaky_relu",
    "leaky_relu_", "mish", "prelu", "selu", "roll", "constant_pad_nd", "pad", "slice", "select", "split",
    "split_with_sizes", "chunk", "unbind", "avg_pool2d", "adaptive_avg_pool2d", "mean", "sum", "div", "div_", "neg",
    "upsample_nearest2d", "upsample_bilinear2d", "float", "type_as", "pixel_shuffle", "index", "masked_fill", "cumsum",
}  # fmt: skip
_MAPS = {"addmm", "linear", "conv1d", "conv2d", "convolution", "conv_transpose2d"}
_NORMS = {"batch_norm", "layer_norm", "group_norm", "rms_norm"}
_EITHER = {"mul", "mul_", "matmul", "bmm"}


class Graph:
    """A body's traced graph, asked about one module at a time."""

    def __init__(self, program: ExportedProgram) -> None:
        self.nodes = [node for node in program.graph.nodes if node.op == "call_function"]
        targets = {spec.arg.name: spec.target for spec in program.graph_signature.input_specs if spec.target}  # type: ignore[union-attr]
        self.states: Mapping[str, str] = targets
        self._inside: dict[str, dict[fx.Node, None]] = {}
        for node in self.nodes:
            for path in paths_of(node):
                self._inside.setdefault(path, {})[node] = None

    def inside(self, path: str) -> dict[fx.Node, None]:
        """The nodes of a module, in order."""
        return self._inside.get(path, {})

    def last(self, path: str) -> fx.Node | None:
        """The one tensor that a module gives; None when there are several or none."""
        inside = self.inside(path)
        given = [node for node in inside if any(user not in inside for user in node.users)]
        return given[-1] if len(given) == 1 and hasattr(given[0].meta.get("val"), "shape") else None

    def summed(self, path: str) -> bool:
        """Whether a module ends in a sum."""
        node = self.last(path)
        while node is not None and operator_of(node) in _VIEWS | _IDEMPOTENT:
            node = _first(node)
        return node is not None and operator_of(node) in _ADDED and path in paths_of(node)

    def branches(self, path: str) -> list[fx.Node]:
        """What a module adds to its input; empty when it is not residual."""
        last, inside = self.last(path), self.inside(path)
        if last is None:
            return []
        start = _first(last) if operator_of(last) in _IDEMPOTENT else last
        found = self._peeled(start, inside, tuple(last.meta["val"].shape)) if start is not None else None
        return found or []

    def _peeled(self, node: fx.Node, inside: dict[fx.Node, None], shape: tuple[int, ...]) -> list[fx.Node] | None:
        """The branches met on the way of sums from a node to the module's input; None when there is no such way."""
        if node not in inside:
            value = node.meta.get("val")
            return [] if node.name not in self.states and tuple(getattr(value, "shape", ())) == shape else None
        if operator_of(node) in _VIEWS:
            first = _first(node)
            return None if first is None else self._peeled(first, inside, shape)
        operands = [value for value in node.args[:2] if isinstance(value, fx.Node)]
        if operator_of(node) not in _ADDED or len(operands) < 2:
            return None
        for skip, branch in (operands, operands[::-1]):
            found = self._peeled(skip, inside, shape)
            if found is not None:
                return [*found, branch]
        return None

    def silencing(self, node: Any, path: str) -> list[str] | None:
        """Names of the parameters of a module that must be 0 for a branch of it to be 0; None when none would do."""
        if not isinstance(node, fx.Node) or path not in paths_of(node):
            return None
        operator = operator_of(node)
        if operator in _MAPS | _NORMS:
            return self._of_layer(node, path)
        if operator in _ADDED | {"cat", "sub", "stack"}:
            operands = list(node.args[0]) if operator in ("cat", "stack") else list(node.args[:2])  # type: ignore[arg-type]
            found = [self.silencing(operand, path) for operand in operands]
            return None if None in found else [name for names in found for name in names or []]
        if operator in _EITHER:
            return self._of_product(node, path)
        if operator in _KEEP_ZERO or getattr(node.target, "__name__", "") == "getitem":
            return self.silencing(_first(node), path)
        return None

    def _of_layer(self, node: fx.Node, path: str) -> list[str] | None:
        """Weight and bias of a map or a norm."""
        given = _named(node)
        if operator_of(node) == "addmm":  # GPT-2's
            given = {"weight": given["mat2"], "bias": given["self"]}
        weight = self._parameter(given.get("weight"), path) or self.silencing(given.get("weight"), path)
        bias = [] if given.get("bias") is None else self._parameter(given["bias"], path)
        return [*weight, *bias] if weight and bias is not None else None

    def _of_product(self, node: fx.Node, path: str) -> list[str] | None:
        """A factor that is a parameter, or else whichever factor can be 0."""
        for asked in (self._parameter, self.silencing):
            for operand in node.args[:2]:
                if found := asked(operand, path):
                    return found
            if all(not isinstance(operand, fx.Node) for operand in node.args[1:2]):
                return self.silencing(node.args[0], path)
        return None

    def _parameter(self, node: Any, path: str) -> list[str] | None:
        """The parameter that a node is, or is a view of, when the module owns it."""
        while isinstance(node, fx.Node) and operator_of(node) in _VIEWS:
            node = _first(node)
        name = self.states.get(node.name) if isinstance(node, fx.Node) else None
        return [name] if name and name.startswith(f"{path}.") else None


def paths_of(node: fx.Node) -> list[str]:
    """The modules in which a node stands, from the outermost on."""
    return [str(path) for path, _ in (node.meta.get("nn_module_stack") or {}).values()]


def _first(node: fx.Node) -> fx.Node | None:
    first = node.args[0] if node.args else None
    if isinstance(first, list | tuple):
        return None
    return first if isinstance(first, fx.Node) else None


def _named(node: fx.Node) -> dict[str, Any]:
    """The arguments by their names in the operator's schema."""
    schema: Any = node.target._schema  # type: ignore[union-attr]
    names = [argument.name for argument in schema.arguments]
    return {**dict(zip(names, node.args, strict=False)), **node.kwargs}
