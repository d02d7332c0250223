"""Mending what averaging does to activations: their variance collapses, layer by layer.

Jordan, Sedghi, Saukh, Entezari and Neyshabur, "REPAIR: renormalizing permuted activations for interpolation repair",
arXiv 2211.08403. With batch normalisation its statistics are estimated anew (section 3.2). Without, every layer's
answers get back the mean and deviation that they have in the parents, by gains and shifts folded into weight and bias.
Changed: layers are found in the graph, all those with a bias whose units may change places.
Letters: C channels of a layer, S examples times places.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.export.graph_signature import InputKind

from transfuse.fusing.alignment.correlating import Watched
from transfuse.fusing.alignment.symmetry import Symmetry
from transfuse.fusing.statistics.batches import batch_norms, estimated_anew
from transfuse.tracing.calls import operator_of

State = Mapping[str, Tensor]
Moments = Mapping[str, tuple[Tensor, Tensor]]
"""Mean and deviation of every channel, by layer."""


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """A convolution or linear layer in the graph."""

    node: str
    weight: str
    bias: str
    dim: int
    """Of its answers: where the channels are."""


def _layers(symmetry: Symmetry) -> list[_Layer]:
    """Layers with a bias, used once, whose units may change places; so not the last one."""
    specs = symmetry.graph.graph_signature.input_specs
    names = {spec.arg.name: spec.target for spec in specs if spec.kind == InputKind.PARAMETER}
    moving = {block.tensor for block in symmetry.blocks}
    found = []
    for node in symmetry.graph.graph.nodes:
        kind = operator_of(node)
        if kind in ("linear", "conv1d", "conv2d", "conv3d") and len(node.args) > 2:
            weight, bias = node.args[1:3]
            once = all(isinstance(p, fx.Node) and p.name in names and len(p.users) == 1 for p in (weight, bias))
            if once and names[bias.name] in moving:
                dim = -1 if kind == "linear" else 1
                found.append(_Layer(node=node.name, weight=names[weight.name], bias=names[bias.name], dim=dim))
    return found


def _moments_of(values: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    x_SC = values.movedim(dim, -1).flatten(0, -2).double()
    return x_SC.mean(0), x_SC.var(0, unbiased=False)


def _moments(state: State, symmetry: Symmetry, layers: Sequence[_Layer], batches: Sequence[Tensor]) -> Moments:
    run = Watched(symmetry.graph, [layer.node for layer in layers])
    found: dict[str, list[tuple[Tensor, Tensor]]] = {layer.node: [] for layer in layers}
    for batch in batches:
        run.over(state, batch)
        for layer in layers:
            found[layer.node].append(_moments_of(run.values[layer.node], layer.dim))
    return {name: _pooled(own) for name, own in found.items()}


def _pooled(moments: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """Mean and deviation over batches of one size."""
    means, variances = (torch.stack(own) for own in zip(*moments, strict=True))
    mean = means.mean(0)
    return mean, (variances.mean(0) + (means - mean).square().mean(0)).sqrt()


class _Renormalised(Watched):
    """Runs the graph with every layer's answers brought to given moments, and notes what they were."""

    def __init__(self, graph: Any, layers: Sequence[_Layer], goals: Moments) -> None:
        super().__init__(graph, ())
        self.layers, self.goals = {layer.node: layer for layer in layers}, goals
        self.met: dict[str, list[tuple[Tensor, Tensor]]] = {layer.node: [] for layer in layers}

    def run_node(self, n: fx.Node) -> Any:
        value = super().run_node(n)
        layer = self.layers.get(n.name)
        if layer is None:
            return value
        mean, variance = _moments_of(value, layer.dim)
        self.met[n.name].append((mean, variance))
        gain, shift = _gain(mean, variance.sqrt(), *self.goals[n.name])
        return (value.movedim(layer.dim, -1) * gain.float() + shift.float()).movedim(-1, layer.dim)


def _gain(mean: Tensor, deviation: Tensor, goal: Tensor, goal_deviation: Tensor) -> tuple[Tensor, Tensor]:
    """Factor and summand that bring moments to goals; channels that never change are only shifted."""
    gain = torch.where(deviation > 1e-6, goal_deviation / deviation.clamp_min(1e-6), 1.0)
    return gain, goal - mean * gain


def repaired(
    state: State,
    parents: Sequence[tuple[float, State]],
    symmetry: Symmetry,
    batches: Sequence[Tensor],
) -> dict[str, Tensor]:
    """A merged network's tensors, so that its layers answer with the parents' mean moments; no batch normalisation.

    parents: (share, tensors) of each, aligned. batches: Of the shape for which the symmetry was found.
    """
    layers = _layers(symmetry)
    known = [(share, _moments(own, symmetry, layers, batches)) for share, own in parents]
    goals = {
        layer.node: tuple(sum(share * own[layer.node][i] for share, own in known) for i in range(2)) for layer in layers
    }
    run = _Renormalised(symmetry.graph, layers, goals)  # type: ignore[arg-type]
    for batch in batches:
        run.over(state, batch)
    found = dict(state)
    for layer in layers:
        gain, shift = (t.to(state[layer.bias]) for t in _gain(*_pooled(run.met[layer.node]), *goals[layer.node]))  # type: ignore[arg-type,misc]
        found[layer.weight] = state[layer.weight] * gain.reshape(-1, *[1] * (state[layer.weight].ndim - 1))
        found[layer.bias] = state[layer.bias] * gain + shift
    return found


def mended(
    network: nn.Module, parents: Sequence[tuple[float, State]], symmetry: Symmetry, batches: Sequence[Tensor]
) -> None:
    """Statistics of batch normalisation anew where there is any; else `repaired`. In place."""
    if batch_norms(network):
        estimated_anew(network, batches)
        return
    state = {name: tensor.detach() for name, tensor in network.state_dict().items()}
    network.load_state_dict(repaired(state, parents, symmetry, batches))
