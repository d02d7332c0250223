"""More depth, the same function: copies of residual blocks whose branches are silent at first.

Chen, Goodfellow, Shlens, "Net2Net", arXiv 1511.05641 (deeper networks that begin as the shallow one); the silent last
step is that of Goyal et al., arXiv 1706.02677. A copy adds exactly 0, in evaluation as in training, whatever the
activation, and its first step of training parts it from its original. Changed: where no branch can be silenced (layers
that end in a norm, as BERT's) the copy stands behind a gate that begins at 0 (Bachlechner et al., "ReZero", arXiv
2003.04887); a network without blocks gets new ones after its layers, x + W·f(x) with W = 0. Identity layers (Net2Net's
own) are exact for ReLU only and are not used. Sibling: `cutting`, the other direction.
"""

import copy
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from transfuse.core.errors import UsageError
from transfuse.reshaping.blocks import Block, Blocks, blocks_of, is_composite
from transfuse.reshaping.layers import activation_of, layers_of, new_block, parts_of
from transfuse.sources.changes.deepened import replayed
from transfuse.sources.changes.places import require_replaceable
from transfuse.sources.network import Network

MOST = 16.0


def deepen(network: Network, sample: Tensor, times: float = 2.0) -> tuple[Network, dict[str, Any], dict[str, Any]]:
    """The network with `times` as many blocks in each stage, equal to it before training; its change; the facts.

    sample: A batch of at least two examples as the body takes them; the blocks are found and proven on it.
    times: 1..16. Stages keep at least what they have; a stage whose blocks all change the shape gets new ones.

    Raises `UsageError` for another `times` and for networks that cannot be changed, `Untraceable`.
    """
    if not 1 < times <= MOST:
        raise UsageError(f"`times` must be above 1 and at most {MOST:g}, but is {times:g}.")
    require_replaceable(network.body)
    found = blocks_of(network.body, sample)
    added = _planned(network.body, found, times)
    if not added:
        raise UsageError("A network must have blocks or layers to be deepened, but none was found in this one.")
    change = {"change": "deepened", "blocks": added}
    body = replayed(copy.deepcopy(network.body), change)
    silenced = _silence(body, found, added)
    deeper = Network(body, copy.deepcopy(network.head)).eval()
    return deeper, change, {**_facts(network, deeper, added), "silenced": silenced}


def _planned(body: nn.Module, found: Blocks, times: float) -> list[dict[str, Any]]:
    """Which blocks follow which."""
    residual = bool(found.of("residual", "projected"))
    blocks = found.of("residual", "projected") if residual else found.of("layer")
    activation = activation_of(body)
    if not blocks:
        again = max(1, round(times) - 1)
        return [
            {**new_block(layer, activation), "times": again}
            for layer in parts_of(body, found) or layers_of(body, found)
        ]
    stages: dict[str, list[Block]] = {}
    for block in blocks:
        stages.setdefault(block.stage, []).append(block)
    return [one for stage in stages.values() for one in _of_stage(body, found, stage, times, activation)]


def _of_stage(
    body: nn.Module, found: Blocks, stage: Sequence[Block], times: float, activation: str
) -> list[dict[str, Any]]:
    """Copies spread over the blocks that can be copied, the later ones first; else new ones after the last."""
    size = max(len(stage), _children(body.get_submodule(stage[0].stage)))
    count = round(size * times) - size
    whole = [block for block in stage if block.form != "projected"]
    if not whole:
        last = stage[-1].path
        new = new_block((last, found.calls[last].output), activation)
        return [{**new, "times": count}] if count else []
    shares = Counter(whole[-1 - number % len(whole)].path for number in range(count))
    what = {"residual": "copy", "layer": "gated"}
    return [{"after": b.path, "what": what[b.form], "times": shares[b.path]} for b in whole if shares[b.path]]


def _children(container: nn.Module) -> int:
    """How many blocks a container holds, those without a sum too."""
    held = container.children() if isinstance(container, nn.Sequential | nn.ModuleList) else ()
    return sum(map(is_composite, held))


def _silence(body: nn.Module, found: Blocks, added: Sequence[Mapping[str, Any]]) -> int:
    """Put 0 where the copies' branches end; the number of tensors."""
    times = {one["after"]: one["times"] for one in added if one["what"] == "copy"}
    count = 0
    for block in found.blocks:
        for number in range(1, times.get(block.path, 0) + 1):
            for name in block.silencing:
                own = body.get_parameter(f"{block.path}.{number}.{name.removeprefix(f'{block.path}.')}")
                nn.init.zeros_(own)
                count += 1
    return count


def _facts(network: Network, deeper: Network, added: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    before, after = (sum(p.numel() for p in one.body.parameters()) for one in (network, deeper))
    kinds = Counter({"copy": 0, "gated": 0, "new": 0})
    for one in added:
        kinds[one["what"]] += one["times"]
    return {"blocks": dict(kinds), "parameters": [before, after]}


def deviation(one: nn.Module, other: nn.Module, x: Tensor) -> float:
    """The largest difference of the answers of two networks, relative to the largest answer."""
    with torch.no_grad():
        a, b = one(x), other(x)
    return float((a - b).abs().max() / a.abs().max().clamp_min(1e-30))
