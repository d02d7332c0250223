"""References to networks: building, loading through the gate, parting body and head.

Letters: B pictures, c channels, h w pixels, D features.
"""

import importlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from transfuse.core.digests import of_many
from transfuse.core.errors import WeightsError
from transfuse.core.nouns import AnyPreprocessing, Source
from transfuse.core.randomness import key
from transfuse.core.tables import resolve
from transfuse.sources import bodies, functions, staging
from transfuse.sources.images import timm_networks
from transfuse.sources.network import head_from
from transfuse.sources.texts.networks import opened_tensors
from transfuse.weights import matching
from transfuse.weights.matching import Match

NETWORKS = {
    "transformers": "transfuse.sources.texts.networks",
    "tabular": "transfuse.sources.tables.network",
    "onehot": "transfuse.sources.tables.network",
    "trees": "transfuse.sources.tables.trees",
    "boosted": "transfuse.sources.tables.boosted",
    "words": "transfuse.sources.texts.words",
}
"""Origins beside timm and the user's own function, by the name of their entry in a builder. A module has
`built(builder, trust_code=) -> body` with random weights, and `parts(source, tensors) -> Parts`."""

COMPOSITES = {
    "depths": "transfuse.sources.depths:rebuilt",
    "beside": "transfuse.sources.beside:rebuilt",
    "exits": "transfuse.sources.exits:rebuilt",
    "side": "transfuse.sources.sides:rebuilt",
    "fused": "transfuse.sources.fused:rebuilt",
    "cell": "transfuse.sources.tables.mixed:rebuilt_cell",
    "row": "transfuse.sources.tables.mixed:rebuilt_row",
    "ensemble": "transfuse.sources.ensembles:rebuilt",
    "joined": "transfuse.sources.joins:rebuilt",
    "projected": "transfuse.sources.projected:rebuilt",
    "reshaped": "transfuse.sources.changes.table:rebuilt",
}
"""Bodies made of bodies, by the name of their entry in a builder."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A source with its tensors in memory, on the CPU, in evaluation mode."""

    source: Source
    body: nn.Module
    """A batch (see `inputs`) to pooled features (B, D)."""
    source_head: nn.Module | None
    """The head that it was trained with, (B, D) to (B, C of the source), when the weights have one."""
    match: Match | None
    """How the weights' file fitted the body; None for random weights."""
    depths: tuple[str, ...]
    """Names of the places at which the body can be cut, shallow to deep; without `final`."""
    feature_size: int
    """D."""


def open_source(source: Source, *, pretrained: bool = True, seed: int = 0) -> Opened:
    """Build the network and load its weights through the gate.

    pretrained=False gives the same network with random weights keyed by the seed. Raises `SourceError` when it cannot
    be built, `WeightsError` when little of the file fits, `UnsafeFile` when the file must not be opened.
    """
    tensors = opened_tensors(Path(source.weights)) if pretrained and source.weights else None
    with keyed_weights(seed):
        if source.origin == "model":
            body, head, match = _from_model(source, tensors)
        elif network := _network(source.builder):
            body, head, match = network.parts(source, tensors)
        elif "timm" in source.builder:
            body, head, match = _from_timm(source, tensors)
        else:
            body, head, match = _from_function(source, tensors)
    body.eval()
    size = bodies.feature_size(body, source.preprocessing)
    if head is not None:
        head.eval()
    if tensors is None:
        source = replace(source, weights=None, digest=of_many([source.digest, f"random weights, seed {seed}"]))
    source = replace(source, parameters=sum(p.numel() for p in body.parameters()))
    depths = staging.depths(body)
    return Opened(source=source, body=body, source_head=head, match=match, depths=depths, feature_size=size)


def side_by_side(
    parts: Sequence[Opened],
    body: nn.Module,
    *,
    origin: str,
    builder: Mapping[str, Any],
    preprocessing: AnyPreprocessing,
    digest: str,
) -> Opened:
    """Several sources as one, whose body gives the features of all."""
    sources = [part.source for part in parts]
    source = replace(
        sources[0],
        reference=" + ".join(source.reference for source in sources),
        name=" + ".join(source.name for source in sources),
        origin=origin,
        builder=builder,
        weights=None,
        preprocessing=preprocessing,
        licence="; ".join(dict.fromkeys(source.licence for source in sources)),
        digest=digest,
        parameters=sum(p.numel() for p in body.parameters()),
    )
    size = bodies.feature_size(body.eval(), preprocessing)
    return Opened(source=source, body=body, source_head=None, match=None, depths=(), feature_size=size)


def rebuild(builder: Mapping[str, Any], *, trust_code: bool = False, seed: int = 0) -> nn.Module:
    """The body that a builder describes, with random weights; the weights of a saved Model are then loaded into it.

    Runs no code but ours and timm's unless the builder names a function, which needs `trust_code`.
    """
    with keyed_weights(seed):
        if composite := next((name for name in COMPOSITES if name in builder), None):
            rebuilt = resolve(COMPOSITES, composite, "composite network")
            return rebuilt(builder[composite], lambda part: rebuild(part, trust_code=trust_code)).eval()
        if network := _network(builder):
            return network.built(builder, trust_code=trust_code).eval()
        if "timm" in builder:
            return bodies.of_timm(timm_networks.build(builder))[0].eval()
        return bodies.of_function(functions.build(builder, trust_code), builder["input"])[0].eval()


@contextmanager
def keyed_weights(seed: int) -> Iterator[None]:
    """Random weights inside the block depend on the seed alone, and nothing outside it changes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(seed, "weights"))
        yield


def _network(builder: Mapping[str, Any]) -> Any:
    """The module that builds it, or None."""
    name = next((name for name in NETWORKS if name in builder), None)
    return importlib.import_module(NETWORKS[name]) if name else None


Parts = tuple[nn.Module, nn.Module | None, Match | None]


def _from_timm(source: Source, tensors: dict[str, torch.Tensor] | None) -> Parts:
    if tensors is None:
        return bodies.of_timm(timm_networks.build(source.builder))[0], None, None
    probe = timm_networks.build(source.builder, classes=2)
    name = timm_networks.classifier_name(probe)
    tensors, stripped = matching.unwrap_names(tensors, probe.state_dict())
    weight = tensors.get(f"{name}.weight")
    network = timm_networks.build(source.builder, classes=len(weight)) if weight is not None else probe
    tensors = timm_networks.adapted(source.builder, network, tensors)
    body, head = bodies.of_timm(network)
    match = _loaded(body, tensors, source, stripped)
    return body, _head_loaded(head, tensors, name), match


def _from_function(source: Source, tensors: dict[str, torch.Tensor] | None) -> Parts:
    network = functions.build(source.builder, trust_code=True)  # `find` has asked; the digest is compared again
    if tensors is not None:
        tensors, stripped = matching.unwrap_names(tensors, network.state_dict())
    body, name, head = bodies.of_function(network, source.builder["input"])
    if tensors is None:
        return body, None, None
    match = _loaded(bodies.inner(body), tensors, source, stripped)
    return body, _head_loaded(head, tensors, name), match


def _from_model(source: Source, tensors: dict[str, torch.Tensor] | None) -> Parts:
    body = rebuild(source.builder, trust_code=True)  # `find` has asked
    if tensors is None:
        return body, None, None
    own = {name.removeprefix("body."): tensor for name, tensor in tensors.items() if name.startswith("body.")}
    match = _loaded(body, own, source, "")
    document = json.loads((Path(str(source.weights)).parent / "model.json").read_text())
    size = bodies.feature_size(body.eval(), source.preprocessing)
    try:
        head = head_from(document["head"], size, len(document["classes"]))
    except (KeyError, TypeError, ValueError):
        return body, None, match
    head_tensors = {name: tensor for name, tensor in tensors.items() if name.startswith("head.")}
    return body, _head_loaded(head, head_tensors, "head"), match


def _loaded(body: nn.Module, tensors: Mapping[str, torch.Tensor], source: Source, stripped: str) -> Match:
    """Load what fits; at least half of the body must (`load_into` sees to that)."""
    try:
        match = matching.load_into(body, tensors, new=(".*",))
    except WeightsError as error:
        raise WeightsError(f"'{source.reference}': {error}") from error
    return replace(match, stripped=stripped + match.stripped)


def _head_loaded(head: nn.Module | None, tensors: Mapping[str, torch.Tensor], name: str | None) -> nn.Module | None:
    """The source's own head, when every tensor of it is in the file; otherwise None."""
    if head is None or not name:
        return None
    own = {key.removeprefix(f"{name}."): tensor for key, tensor in tensors.items() if key.startswith(f"{name}.")}
    want = head.state_dict()
    if any(key not in own or own[key].shape != tensor.shape for key, tensor in want.items()):
        return None
    head.load_state_dict({key: own[key].to(tensor.dtype) for key, tensor in want.items()})
    return head
