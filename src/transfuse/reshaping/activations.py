"""Another activation in all of a body: cheaper ones (ReLU for GELU) for the processor at hand, or smoother ones.

Not function-preserving: how far the answers moved is in the facts, and training from there is advised (for
transformers: Mirzadeh et al., "ReLU strikes back", arXiv 2310.04564). Exchanged are modules, those that transformers'
configurations choose among them; what a network calls as a function cannot be exchanged and is named. Gates (sigmoid,
softmax) are no activations. Letters: B examples, C classes.
"""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from transfuse.core.errors import UsageError
from transfuse.core.tables import chosen
from transfuse.reshaping.branches import Graph, paths_of
from transfuse.sources.changes.activations import replayed
from transfuse.sources.changes.places import require_replaceable
from transfuse.sources.network import ACTIVATIONS, Network
from transfuse.tracing.calls import operator_of
from transfuse.tracing.walking import traced

_HOMES = ("torch.nn.modules.activation", "timm.layers.activations", "transformers.activations")
_GATES = ("sigmoid", "softmax", "softmin", "glu", "threshold", "shrink", "attention")
_FUNCTIONS = ("relu", "gelu", "silu", "tanh", "elu", "celu", "selu", "leaky_relu", "hardswish", "hardtanh", "mish")


def exchange(network: Network, sample: Tensor, activation: str) -> tuple[Network, dict[str, Any], dict[str, Any]]:
    """The network with another activation; its change; the facts.

    sample: A batch as the body takes it, on which the change of the answers is measured.
    activation: `relu`, `gelu`, `silu`, `tanh`, `leaky_relu` or `elu`.

    Raises `UnknownName`, `Untraceable`, `UsageError` when there is no activation to exchange.
    """
    wanted = ACTIVATIONS[chosen("activation", activation, ACTIVATIONS)]
    require_replaceable(network.body)
    named = network.body.named_modules(remove_duplicate=False)  # one module may have several paths
    found = {path: module for path, module in named if path and _is_activation(module)}
    functional = _functional(network.body, sample, set(found))
    paths = [
        path
        for path, module in found.items()
        if type(module) is not wanted or vars(module).get("approximate") == "tanh"
    ]
    if not paths:
        told = f" It calls functions in {', '.join(functional[:3])}, which stay." if functional else ""
        raise UsageError(f"A network must have modules of other activations than {activation}, but has none.{told}")
    change = {"change": "activations", "modules": dict.fromkeys(paths, activation)}
    other = Network(replayed(copy.deepcopy(network.body), change), copy.deepcopy(network.head)).eval()
    facts = {"exchanged": len(paths), "functional": functional, "changed_by": _moved(network, other, sample)}
    return other, change, facts


def _is_activation(module: nn.Module) -> bool:
    kind = type(module)
    return kind.__module__.startswith(_HOMES) and not any(gate in kind.__name__.lower() for gate in _GATES)


def _functional(body: nn.Module, sample: Tensor, known: set[str]) -> list[str]:
    """Where activations are called that are no modules."""
    places: dict[str, None] = {}
    for node in Graph(traced(body, sample)).nodes:
        paths = paths_of(node)
        if operator_of(node).rstrip("_") in _FUNCTIONS and not known & set(paths):
            places[f"{operator_of(node).rstrip('_')} in {paths[-1] if paths and paths[-1] else 'the network'}"] = None
    return list(places)


def _moved(network: nn.Module, other: nn.Module, sample: Tensor) -> float:
    """Squared change of the answers relative to their variance over the examples."""
    with torch.no_grad():
        before_BC, after_BC = network(sample).double(), other(sample).double()
    variance = (before_BC - before_BC.mean(0)).square().sum().clamp_min(1e-30)
    return round(float((after_BC - before_BC).square().sum() / variance), 6)
