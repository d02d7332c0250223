"""The plain layers of a body without blocks, and the new blocks that may follow them."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from transfuse.reshaping.blocks import Blocks, is_composite
from transfuse.reshaping.branches import paths_of
from transfuse.sources.changes.blocks import first_of
from transfuse.sources.network import ACTIVATIONS
from transfuse.tracing.calls import operator_of

_FOLLOWING = {"batch_norm", "layer_norm", "group_norm", "relu", "relu_", "gelu", "silu", "silu_", "tanh", "elu"}


def parts_of(body: nn.Module, found: Blocks) -> list[tuple[str, Any]]:
    """The innermost composite modules that containers hold, and what they give."""
    parts: dict[str, Any] = {}
    for path, call in found.calls.items():
        held = isinstance(body.get_submodule(path.rpartition(".")[0]), nn.Sequential | nn.ModuleList)
        module = body.get_submodule(path)
        whole = held and is_composite(module) and not isinstance(module, nn.Sequential | nn.ModuleList)
        if whole and isinstance(call.output, Tensor) and not any(inner.startswith(f"{path}.") for inner in parts):
            parts[path] = call.output
    return list(parts.items())


def layers_of(body: nn.Module, found: Blocks) -> list[tuple[str, Any]]:
    """Linear maps and convolutions, each with the norm and the activation after it: path of the last, what it gives."""
    layers: dict[str, Any] = {}
    for path, call in found.calls.items():
        if isinstance(body.get_submodule(path), nn.Linear | nn.Conv2d):
            last = _with_following(path, found, body)
            layers[last] = call.output  # norms and activations keep the shape
    return list(layers.items())


def _with_following(path: str, found: Blocks, body: nn.Module) -> str:
    """The last module of the run of norm and activation that stands behind a layer alone."""
    node = found.graph.last(path)
    while node is not None and len(node.users) == 1:
        node = next(iter(node.users))
        paths = paths_of(node)
        own = paths[-1] if paths else ""
        once = sum(paths_of(other)[-1:] == [own] for other in found.graph.nodes) == 1
        leaf = own and not list(body.get_submodule(own).children())
        if operator_of(node) not in _FOLLOWING or not leaf or not once:
            break
        path = own
    return path


def activation_of(body: nn.Module) -> str:
    """The name of the activation that a body has most; `relu` when it has none that is known."""
    names: Mapping[type, str] = {kind: name for name, kind in ACTIVATIONS.items()}
    counts = Counter(names[type(module)] for module in body.modules() if type(module) in names)
    return counts.most_common(1)[0][0] if counts else "relu"


def new_block(layer: tuple[str, Any], activation: str) -> dict[str, Any]:
    """A new block after what gives this: over channels in space (B, c, h, w), else over the last axis."""
    path, output = layer[0], first_of(layer[1])
    assert isinstance(output, Tensor)
    if output.ndim == 4:
        kernel = 3 if min(output.shape[2:]) > 1 else 1
        return {"after": path, "what": "new", "width": output.shape[1], "kernel": kernel, "activation": activation}
    return {"after": path, "what": "new", "width": output.shape[-1], "kernel": 0, "activation": activation}
