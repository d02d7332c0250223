"""Less depth: the blocks without which the answers change least are taken out, one after another.

A residual network answers much as before without one of its blocks (Veit, Wilber, Belongie, "Residual networks behave
like ensembles of relatively shallow networks", arXiv 1605.06431); layers of transformers likewise (Men et al.,
"ShortGPT", arXiv 2403.03853, which ranks them once by how little each changes its input). Changed: judged by the
answers of the whole network on the task's examples, anew after every block that went. Not function-preserving: what it
cost is in the facts. Sibling: `deepening`.
"""

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from transfuse.core.errors import UsageError
from transfuse.reshaping.blocks import blocks_of
from transfuse.sources.changes.blocks import Skipped
from transfuse.sources.changes.places import module_at, put_module, require_replaceable
from transfuse.sources.changes.removed import replayed
from transfuse.sources.network import Network


def cut(
    network: Network, batches: Sequence[Tensor], keep: float = 0.75
) -> tuple[Network, dict[str, Any], dict[str, Any]]:
    """The network without some of the blocks that keep the shape; the change; the facts.

    batches: Of the task's training examples, as the body takes them; at least two examples in the first.
    keep: 0..1, the share of these blocks that stay, at least one less than there are.

    Raises `UsageError` for another share or when there is no such block, `Untraceable`.
    """
    if not 0 <= keep < 1:
        raise UsageError(f"`keep` must be at least 0 and below 1, but is {keep:g}.")
    require_replaceable(network.body)
    paths = [block.path for block in blocks_of(network.body, batches[0]).of("residual", "layer")]
    if not paths:
        raise UsageError("A network must have blocks that keep the shape to be cut, but none was found in this one.")
    wanted = len(paths) - min(math.ceil(keep * len(paths)), len(paths) - 1)
    gone = _gone(network, batches, paths, wanted)
    change = {"change": "removed", "blocks": list(gone)}
    shallower = Network(replayed(copy.deepcopy(network.body), change), copy.deepcopy(network.head)).eval()
    before, after = (sum(p.numel() for p in one.body.parameters()) for one in (network, shallower))
    facts = {"blocks": [len(paths), len(paths) - wanted], "changed_by": gone, "parameters": [before, after]}
    return shallower, change, facts


def _gone(network: Network, batches: Sequence[Tensor], paths: Sequence[str], wanted: int) -> dict[str, float]:
    """Blocks in the order in which they go, and how far the answers are then from those of the whole network."""
    working = copy.deepcopy(network).eval()
    answers = _answers(working, batches)
    gone: dict[str, float] = {}
    while len(gone) < wanted:
        tried = {path: _without(working, path, batches, answers) for path in paths if path not in gone}
        path = min(tried, key=tried.__getitem__)
        gone[path] = round(tried[path], 6)
        put_module(working.body, path, Skipped(module_at(working.body, path)))
    return gone


def _without(network: Network, path: str, batches: Sequence[Tensor], answers: Tensor) -> float:
    """How far the answers are without a block: squared, relative to the variance of the answers."""
    block = module_at(network.body, path)
    put_module(network.body, path, Skipped(block))
    found = _answers(network, batches)
    put_module(network.body, path, block)
    return float((found - answers).square().sum() / (answers - answers.mean(0)).square().sum().clamp_min(1e-30))


def _answers(network: nn.Module, batches: Sequence[Tensor]) -> Tensor:
    with torch.no_grad():
        return torch.cat([network(batch).double() for batch in batches])
