"""The running statistics of batch normalisation, which no mean of weights gives: estimated anew on examples.

Averaged weights shift and shrink activations, to which averaged statistics do not belong: Izmailov et al., arXiv
1803.05407, and Jordan et al., "REPAIR", arXiv 2211.08403, section 3.2. The mean over batches is taken, all alike.
"""

from collections.abc import Iterable
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from transfuse.core.nouns import Model, Task
from transfuse.fusing.checkpoints import Checkpoint
from transfuse.sources import inputs
from transfuse.tasks.joining import drawn
from transfuse.weights.pieces import digest_of

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_STATISTICS = ("running_mean", "running_var")


def same_statistics(checkpoints: Iterable[Checkpoint]) -> bool:
    """Whether all parents have the same running statistics, to the bit: they were trained with these frozen.

    The result belongs to them then, as its parents do; others would be new to its weights.
    """
    found = []
    for checkpoint in checkpoints:
        entries = [e for name, e in sorted(checkpoint.entries.items()) if name.endswith(_STATISTICS)]
        found.append([digest_of(e) for e in entries])
    return all(digests == found[0] for digests in found)


def with_batch_statistics(model: Model, task: Task, batches: int = 100) -> int:
    """Estimate the statistics anew on batches of training examples, in place; how many examples were seen."""
    if not batch_norms(model.network):
        return 0
    items = drawn(task.splits["train"], task.seed, "batch statistics").items  # mixed: else a batch holds one class
    return estimated_anew(model.network, islice(inputs.batches(items, model.preprocessing, 64), batches))


def batch_norms(network: nn.Module) -> list[Any]:
    """Its batch normalisations that keep statistics."""
    return [module for module in network.modules() if isinstance(module, _NORMS) and module.track_running_stats]


def estimated_anew(network: nn.Module, batches: Iterable[Tensor]) -> int:
    """Estimate the statistics of batch normalisation anew, in place: the plain mean over batches. Examples seen."""
    norms = batch_norms(network)
    before, seen = [norm.momentum for norm in norms], 0
    with torch.no_grad():
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over all batches
            norm.train()
        for batch in batches if norms else ():
            if len(batch) > 1:  # the variance of one example is none
                network(batch)
                seen += len(batch)
    for norm, momentum in zip(norms, before, strict=True):
        norm.momentum = momentum
        norm.eval()
    return seen
