"""The diagonal of a network's Fisher information: how much its answers depend on each weight.

Matena and Raffel, "Merging models with Fisher-weighted averaging", arXiv 2111.09832, section 3.1: the mean over
examples of E_y (∇ log p(y|x))², y drawn from the network's own answers (the true Fisher; labels are not looked at). The
expectation is exact up to 8 classes or target columns; beyond, one y is drawn for each example, with a seed that
depends on the example's place alone. Probabilities are a softmax, independent sigmoids for several labels, and a normal
distribution of deviation 1 for (standardised) numbers. Gradients are those of single examples, never of a batch's sum.
Letters: C classes or target columns.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from transfuse.core.errors import BudgetError, WeightsError
from transfuse.core.nouns import Kind, Model
from transfuse.core.randomness import key
from transfuse.core.runs import Run
from transfuse.sources import inputs

EXACT = 8
"""Most classes for which the expectation is summed up."""


def fisher_information(model: Model, items: Sequence[Any], *, seed: int, run: Run) -> dict[str, torch.Tensor]:
    """By name of the parameter its mean squared gradient, float32. Raises `WeightsError` or `BudgetError`."""
    network = model.network.eval()
    moving = {name: parameter for name, parameter in network.named_parameters() if parameter.is_floating_point()}
    if not moving:
        raise WeightsError("Fisher information must be of a network with weights, but this Model has none to move.")
    before = {name: parameter.requires_grad for name, parameter in moving.items()}
    totals = {name: torch.zeros(parameter.shape, dtype=torch.float64) for name, parameter in moving.items()}
    try:
        for parameter in moving.values():
            parameter.requires_grad_(True)
        for place, item in enumerate(items):
            _require_time(run)
            values_C = network(inputs.tensor_of([item], model.preprocessing))[0]
            drawn = torch.Generator().manual_seed(key(seed, "fisher", place))
            _add(totals, moving, list(_terms(values_C, model.kind, drawn)))
            run.watch({"stage": "fisher information", "done": place + 1, "total": len(items), "text": model.name})
    finally:
        for name, parameter in moving.items():
            parameter.requires_grad_(before[name])
    return {name: (total / max(1, len(items))).float() for name, total in totals.items()}


def _terms(values_C: torch.Tensor, kind: Kind, drawn: torch.Generator) -> Iterator[tuple[float, torch.Tensor]]:
    """(weight, number): the sum of weight · (∇ number)² is E_y (∇ log p(y|x))², or has it as its mean."""
    known_C = values_C.detach()
    if len(known_C) > EXACT:
        yield 1.0, _sampled(values_C, kind, drawn)
    elif kind == "single-label":
        yield from zip(known_C.softmax(0).tolist(), values_C.log_softmax(0), strict=True)
    elif kind == "multi-label":
        p_C = known_C.sigmoid()
        yield from zip((p_C * (1 - p_C)).tolist(), values_C, strict=True)
    else:
        yield from ((1.0, value) for value in values_C)


def _sampled(values_C: torch.Tensor, kind: Kind, drawn: torch.Generator) -> torch.Tensor:
    """log p(y|x) of one y from the network's own answers."""
    known_C = values_C.detach()
    if kind == "single-label":
        return values_C.log_softmax(0)[int(torch.multinomial(known_C.softmax(0), 1, generator=drawn))]
    if kind == "multi-label":
        y_C = torch.bernoulli(known_C.sigmoid(), generator=drawn)
        return -torch.nn.functional.binary_cross_entropy_with_logits(values_C, y_C, reduction="sum")
    return (torch.randn(known_C.shape, generator=drawn) * values_C).sum()


def _add(
    totals: dict[str, torch.Tensor],
    moving: dict[str, torch.nn.Parameter],
    terms: Sequence[tuple[float, torch.Tensor]],
) -> None:
    for place, (weight, number) in enumerate(terms):
        if not number.requires_grad:
            raise WeightsError(
                "Fisher information must be of a network with gradients, but this one's answers have none."
            )
        last = place == len(terms) - 1
        gradients = torch.autograd.grad(number, list(moving.values()), retain_graph=not last, allow_unused=True)
        for name, gradient in zip(moving, gradients, strict=True):
            if gradient is not None:
                totals[name].addcmul_(gradient.double(), gradient.double(), value=weight)


def _require_time(run: Run) -> None:
    if run.remaining() <= 0:
        raise BudgetError("The time was up before the Fisher information was known. Give it longer.")
