"""The Gram matrix of what every linear layer sees: G = XᵀX/n.

Jin et al., "Dataless knowledge fusion by merging weights of language models" (RegMean), arXiv 2212.09849. X are the
inputs of the layer over all examples and, of texts, over all tokens; padding is left out. A layer that is called in
several places has one G. Layers that are not `nn.Linear`, and those whose weights are used without calling them
(inside `nn.MultiheadAttention`), have none. Letters: I inputs of a layer, n rows that it saw.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import nn

from transfuse.core.errors import BudgetError, WeightsError
from transfuse.core.nouns import Model
from transfuse.core.runs import Run
from transfuse.sources import inputs

_BATCH = 32


class _Sums:
    """XᵀX and n of every layer, added up by hooks."""

    def __init__(self) -> None:
        self.grams: dict[str, torch.Tensor] = {}
        self.rows: dict[str, int] = {}
        self.mask: torch.Tensor | None = None
        """Of the batch at hand: which tokens are no padding."""

    def hook(self, name: str) -> Callable[[nn.Module, Any], None]:
        def add(layer: nn.Module, given: Any) -> None:
            x = given[0].detach()
            if self.mask is not None and x.shape[:2] == self.mask.shape and x.dim() > 2:
                x = x[self.mask]
            x = x.reshape(-1, x.shape[-1]).float()
            gram = (x.T @ x).double()
            self.grams[name] = self.grams[name] + gram if name in self.grams else gram
            self.rows[name] = self.rows.get(name, 0) + len(x)

        return add


def gram_matrices(model: Model, items: Sequence[Any], *, run: Run) -> dict[str, torch.Tensor]:
    """By name of the weight (I, I) float32. Raises `WeightsError` or `BudgetError`."""
    network, sums = model.network.eval(), _Sums()
    layers = {name: module for name, module in network.named_modules() if isinstance(module, nn.Linear)}
    handles = [layer.register_forward_pre_hook(sums.hook(name)) for name, layer in layers.items()]
    try:
        done = 0
        for batch in inputs.batches(items, model.preprocessing, _BATCH):
            if run.remaining() <= 0:
                raise BudgetError("The time was up before the Gram matrices were known. Give it longer.")
            sums.mask = batch != inputs.PADDING if batch.dtype == torch.int64 else None
            with torch.no_grad():
                network(batch)
            done += len(batch)
            run.watch({"stage": "Gram matrices", "done": done, "total": len(items), "text": model.name})
    finally:
        for handle in handles:
            handle.remove()
    if not sums.grams:
        raise WeightsError("RegMean must have linear layers, but this network calls none.")
    return {f"{name}.weight": (gram / max(1, sums.rows[name])).float() for name, gram in sums.grams.items()}
