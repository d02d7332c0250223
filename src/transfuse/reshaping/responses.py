"""Mean and covariance of what layers answer on examples, by hooks: all that a low rank needs to know of the data.

Letters: B examples, O outputs of a layer, n rows that it gave (a row a place in space, a token or an example).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from transfuse.sources.inputs import PADDING


@dataclass(kw_only=True)
class Responses:
    """Sums over what one layer answered."""

    count: int
    sum_O: Tensor
    gram_OO: Tensor
    power: float = 0.0
    """Sum of the squares of what it was given, over the numbers of one row."""

    def mean_O(self) -> Tensor:
        """Float64."""
        return self.sum_O / self.count

    def covariance_OO(self) -> Tensor:
        """Float64."""
        mean_O = self.mean_O()
        return self.gram_OO / self.count - torch.outer(mean_O, mean_O)


def responses(
    body: nn.Module, layers: Mapping[str, nn.Module], batches: Iterable[Tensor]
) -> dict[str, tuple[Responses, int]]:
    """By path, what layers that are called answered, and places of one example's call (for counting operations).

    Padding of texts is left out.
    """
    sums: dict[str, Responses] = {}
    places: dict[str, int] = {}
    mask: list[Tensor | None] = [None]
    handles = [layer.register_forward_hook(_adding(path, sums, places, mask)) for path, layer in layers.items()]
    examples = 0
    try:
        for batch in batches:
            mask[0] = batch != PADDING if batch.dtype == torch.int64 else None
            examples += len(batch)
            with torch.no_grad():
                body.eval()(batch)
    finally:
        for handle in handles:
            handle.remove()
    return {path: (found, max(1, places[path] // max(1, examples))) for path, found in sums.items()}


def _adding(
    path: str, sums: dict[str, Responses], places: dict[str, int], mask: list[Tensor | None]
) -> Callable[[nn.Module, Any, Tensor], None]:
    def add(layer: nn.Module, given: Any, output: Tensor) -> None:
        convolution = isinstance(layer, nn.Conv2d)
        y = output.movedim(1, -1) if convolution else output
        places[path] = places.get(path, 0) + y.shape[:-1].numel()
        if mask[0] is not None and y.shape[:2] == mask[0].shape:
            y = y[mask[0]]
        y_nO = y.reshape(-1, y.shape[-1]).double()
        size = y_nO.shape[1]
        zeros = Responses(count=0, sum_O=y_nO.new_zeros(size), gram_OO=y_nO.new_zeros(size, size))
        own = sums.setdefault(path, zeros)
        own.count += len(y_nO)
        own.sum_O += y_nO.sum(0)
        own.gram_OO += y_nO.T @ y_nO
        own.power += float(given[0].double().square().mean()) * len(y_nO)

    return add
