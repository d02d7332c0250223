"""What a Model costs: parameters, multiply-adds, milliseconds an example on this machine."""

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from transfuse.core.nouns import Model
from transfuse.sources import inputs

_TURNS, _WARM = 15, 3


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Of one Model."""

    parameters: int
    multiply_adds: int
    """Of one example, in linear maps, convolutions and attention."""
    milliseconds: float
    """An example alone, median of several; one batch of one, on this machine."""

    def row(self) -> dict[str, float]:
        """As columns of a report."""
        return {"parameters": self.parameters, "multiply-adds": self.multiply_adds, "ms": round(self.milliseconds, 2)}


def costs_of(models: Sequence[Model], turns: int = _TURNS) -> list[Costs]:
    """Costs of Models side by side: they are timed in turns, so that whatever slows this machine slows all."""
    samples = [inputs.blank(model.preprocessing) for model in models]
    times: list[list[float]] = [[] for _ in models]
    for turn in range(turns + _WARM):
        for place, (model, sample) in enumerate(zip(models, samples, strict=True)):
            seconds = _seconds(model, sample)
            if turn >= _WARM:
                times[place].append(seconds)
    return [
        Costs(
            parameters=sum(p.numel() for p in model.network.parameters()),
            multiply_adds=multiply_adds(model, sample),
            milliseconds=1000 * statistics.median(own),
        )
        for model, sample, own in zip(models, samples, times, strict=True)
    ]


def _seconds(model: Model, sample: Tensor) -> float:
    with torch.inference_mode():
        began = time.perf_counter()
        model.network.eval()(sample)
        return time.perf_counter() - began


def multiply_adds(model: Model, sample: Tensor) -> int:
    """Of one example."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.network.eval()(sample)
    return counter.get_total_flops() // (2 * len(sample))
