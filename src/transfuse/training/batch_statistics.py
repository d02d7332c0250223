"""The running statistics of batch normalisation, estimated anew on examples after weights were changed otherwise."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


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
