"""Layers of a lower rank, chosen by what the layers answer on the task's own examples.

A layer y = W·x + b becomes U·(Uᵀ·W)·x + b', U the r principal directions of its answers: of all maps of rank r the one
whose answers on these examples differ least (Zhang et al., "Accelerating very deep convolutional networks", arXiv
1505.06798, section 3.1). It is the truncation of W·S^½, S the second moment of x, that SVD-LLM (arXiv 2403.07378) and
DRONE find through S; ASVD (arXiv 2312.05821) weighs by the diagonal of S only. The moments of the answers suffice,
which for a convolution are k² times smaller a side than those of its patches. Changed: the mean is taken off first and
goes into b'; few examples are not trusted beyond their number (`SHRUNK`). Ranks: those which lose the least
share of variance, summed over layers, for a number of parameters (or operations) in all, by one price for all layers.
Letters: O outputs, I inputs of a layer (of a convolution times its places), r rank.
"""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from transfuse.core.errors import UsageError
from transfuse.core.tables import chosen
from transfuse.reshaping.responses import Responses, responses
from transfuse.sources.changes.factored import Factored, replayed
from transfuse.sources.changes.places import require_replaceable
from transfuse.sources.network import Network

Measure = Literal["parameters", "operations"]
Guide = Literal["answers", "weights"]
SHRUNK = 0.01
"""Of the variance that inputs without any structure would give: added to what the examples show."""


@dataclass(frozen=True, kw_only=True)
class _Layer:
    """One layer that may be factored."""

    values_O: Tensor
    """Variances of the principal answers, largest first."""
    vectors_OO: Tensor
    """Their directions, as columns."""
    mean_O: Tensor
    whole: int
    """Cost as it is."""
    each: int
    """Cost of one rank."""
    more: int
    """Cost of a bias where there was none."""

    def choices(self) -> tuple[Tensor, Tensor]:
        """Costs and shares of variance lost for rank 1, 2, ... and last for leaving it whole."""
        ranks = torch.arange(1, len(self.values_O) + 1, dtype=torch.float64)
        kept = self.values_O.cumsum(0) / self.values_O.sum().clamp_min(1e-300)
        costs = torch.cat([ranks * self.each + self.more, torch.tensor([float(self.whole)])])
        return costs, torch.cat([(1 - kept).clamp_min(0), torch.zeros(1)])


def factor(
    network: Network,
    batches: Iterable[Tensor],
    share: float = 0.5,
    *,
    measure: Measure = "parameters",
    guide: Guide = "answers",
) -> tuple[Network, dict[str, Any], dict[str, Any]]:
    """The network with layers of lower rank, so that a share of its cost is left; its change; the facts.

    batches: Of the task's training examples, as the body takes them.
    share: 0..1, of the body's parameters or operations (multiply-adds of linear maps and convolutions).
    measure: `parameters` or `operations`.
    guide: `answers` of the layers on the examples, or the `weights` alone (plain singular values).

    Raises `UsageError` for another share, or one that even rank 1 everywhere does not reach.
    """
    if not 0 < share < 1:
        raise UsageError(f"`share` must be above 0 and below 1, but is {share:g}.")
    chosen("measure", measure, ("parameters", "operations"))
    chosen("guide", guide, ("answers", "weights"))
    require_replaceable(network.body)
    known = _layers(network.body)
    found = responses(network.body, known, batches)
    layers = {path: _layer(known[path], *found[path], measure, guide) for path in found}
    whole = sum(layer.whole for layer in layers.values())
    if measure == "parameters":
        whole = sum(p.numel() for p in network.body.parameters())
    fixed = whole - sum(layer.whole for layer in layers.values())
    ranks = _ranks(layers, share * whole - fixed)
    change = {"change": "factored", "layers": ranks}
    body = replayed(copy.deepcopy(network.body), change)
    for path, rank in ranks.items():
        _fill(body.get_submodule(path), known[path], layers[path], rank)
    smaller = Network(body, copy.deepcopy(network.head)).eval()
    return smaller, change, _facts(network, smaller, layers, ranks, fixed / whole)


def _layers(body: nn.Module) -> dict[str, nn.Module]:
    """Linear maps and dense convolutions; classes derived from them may compute otherwise."""
    plain = {path: module for path, module in body.named_modules() if type(module) in (nn.Linear, nn.Conv2d)}
    return {path: module for path, module in plain.items() if getattr(module, "groups", 1) == 1}


def _layer(module: nn.Module, found: Responses, places: int, measure: Measure, guide: Guide) -> _Layer:
    weight_OI = module.weight.detach().double().flatten(1)  # type: ignore[operator, union-attr]
    blind_OO, mean_O = weight_OI @ weight_OI.T, found.mean_O()
    if guide == "weights":
        values_O, vectors_OO = torch.linalg.eigh(blind_OO)
        mean_O = torch.zeros_like(mean_O) if module.bias is None else module.bias.detach().double()  # type: ignore[union-attr, operator]
    else:
        blind_OO = blind_OO * (found.power / found.count)
        values_O, vectors_OO = torch.linalg.eigh(found.covariance_OO() + SHRUNK * blind_OO)
    outputs, inputs = weight_OI.shape
    times = places if measure == "operations" else 1
    return _Layer(
        values_O=values_O.flip(0).clamp_min(0),
        vectors_OO=vectors_OO.flip(1),
        mean_O=mean_O,
        whole=outputs * inputs * times,
        each=(outputs + inputs) * times,
        more=outputs if measure == "parameters" and module.bias is None else 0,
    )


def _ranks(layers: Mapping[str, _Layer], budget: float) -> dict[str, int]:
    """The ranks of layers that are not left whole: least loss within the budget, by bisecting the price of cost."""
    choices = {path: layer.choices() for path, layer in layers.items()}
    least = sum(float(costs.min()) for costs, _ in choices.values())
    if not layers or least > budget:
        raise UsageError("`share` is less than what is left of the network at rank 1 everywhere. Give a larger one.")
    low, high = 0.0, 1.0  # the price that is too low, and the one that is high enough

    def bought(price: float) -> dict[str, int]:
        return {path: int((lost + price * costs).argmin()) for path, (costs, lost) in choices.items()}

    def cost(taken: Mapping[str, int]) -> float:
        return sum(float(choices[path][0][place]) for path, place in taken.items())

    for _ in range(80):
        middle = (low * high) ** 0.5 if low else high * 1e-3
        if middle < 1e-30 or (low and high / low < 1 + 1e-9):
            break
        low, high = (low, middle) if cost(bought(middle)) <= budget else (middle, high)
    taken = bought(high)
    return {path: place + 1 for path, place in taken.items() if place < len(layers[path].values_O)}


def _fill(two: nn.Module, layer: nn.Module, found: _Layer, rank: int) -> None:
    """U and Uᵀ·W, and the bias that keeps the mean answer."""
    assert isinstance(two, Factored) and isinstance(layer, nn.Linear | nn.Conv2d)
    u_Or = found.vectors_OO[:, :rank]
    bias_O = torch.zeros_like(found.mean_O) if layer.bias is None else layer.bias.detach().double()
    shifted_O = found.mean_O + u_Or @ (u_Or.T @ (bias_O - found.mean_O))
    first, second = two
    with torch.no_grad():
        first.weight.copy_((u_Or.T @ layer.weight.double().flatten(1)).reshape(first.weight.shape))  # type: ignore[union-attr, operator, arg-type]
        second.weight.copy_(u_Or.reshape(second.weight.shape))  # type: ignore[union-attr, operator, arg-type]
        second.bias.copy_(shifted_O)  # type: ignore[union-attr, operator]


def _facts(
    network: Network, smaller: Network, layers: Mapping[str, _Layer], ranks: Mapping[str, int], fixed: float
) -> dict[str, Any]:
    before, after = (sum(p.numel() for p in one.body.parameters()) for one in (network, smaller))
    lost = {path: round(float(layers[path].choices()[1][rank - 1]), 4) for path, rank in ranks.items()}
    return {"parameters": [before, after], "ranks": dict(ranks), "lost": lost, "share_not_factored": round(fixed, 4)}
