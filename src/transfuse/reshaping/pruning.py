"""Fewer units: those that the task misses least go, with everything that belongs to them, until the size is met.

Structured pruning of whole units over the traced graph (as DepGraph, arXiv 2301.12900, finds its groups): residual
streams, concatenation, grouped and depthwise convolutions and attention heads shrink as one. Ours: units are ranked
over the whole network by what they are worth to the task (`importance`) for each parameter that goes with them, in
several rounds, because what is left matters more once others are gone; batch statistics are estimated anew at the end.
Only those units may go of which one more, copied, would not change the answers (`widening`): code that fixes their
number is found out before anything is cut. What is saved are sizes, never a pickled network.
"""

import copy
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from transfuse.core.errors import UsageError, WeightsError
from transfuse.reshaping.importance import importance
from transfuse.reshaping.resizing import Anatomy, anatomy_of, change_between, in_body, resized
from transfuse.reshaping.widening import keeping
from transfuse.sources.network import Network
from transfuse.training.batch_statistics import estimated_anew
from transfuse.training.losses import Loss

_LEAST = 0.1
"""0..1: share of its units that a layer keeps in any case, so that none is cut through."""


def prune(
    network: Network,
    batches: Sequence[tuple[Tensor, Tensor]],
    share: float,
    loss: Loss,
    *,
    rounds: int = 5,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[Network, dict[str, Any], dict[str, Any]]:
    """A copy of the network without a share of its parameters; its change; the facts.

    batches: training examples with targets, as the loss wants them. share: 0..1 of the parameters to go.
    Raises `UsageError`; `Untraceable`; `WeightsError` when so much cannot go.
    """
    if not 0 < share < 1:
        raise UsageError(f"`prune` must be a share of the parameters between 0 and 1, such as 0.5, but is {share:g}.")
    sample = batches[0][0][:2]
    whole, first = _count(network), anatomy_of(network, sample)
    made, free = network, _prunable(network, sample, first)
    for turn in range(rounds):
        anatomy = first if turn == 0 else anatomy_of(made, sample)
        target = round(whole * (1 - share) ** ((turn + 1) / rounds))
        if _count(made) > target:
            worth = importance(made, anatomy, batches, loss)
            numbers = free if turn == 0 else _prunable(made, sample, anatomy)
            made = resized(made, anatomy, _remaining(anatomy, {n: worth[n] for n in numbers}, target, made))
        tell(turn + 1, rounds)
    if made is network:
        made = copy.deepcopy(network)
    estimated_anew(made, [x for x, _ in batches])
    after = {units.name: units.size for units in anatomy_of(made, sample).units}
    sizes = {units.name: [units.size, after.get(units.name, 1)] for units in first.units}
    facts = {
        "sizes": {name: own for name, own in sizes.items() if own[0] != own[1]},
        "kept": _kept(first, free),
        "not_understood": list(first.unknown),
    }
    return made.eval(), change_between(network.body, made.body), facts


def _single(anatomy: Anatomy) -> list[int]:
    """Numbers of units of the body that no operator and no other units hold fast."""
    wanted = [n for n in in_body(anatomy) if n not in anatomy.roles.still]
    double = anatomy.doubled(wanted)
    return [n for n in wanted if n not in double]


def _kept(anatomy: Anatomy, free: Collection[int]) -> dict[str, str]:
    """Why others may not go."""
    single = _single(anatomy)
    inside, fixed = "it stands inside other units", "other units or the code depend on their number"
    others = [n for n in in_body(anatomy) if n not in free]
    return {anatomy.units[n].name: anatomy.roles.still.get(n, fixed if n in single else inside) for n in others}


def _prunable(network: Network, sample: Tensor, anatomy: Anatomy) -> set[int]:
    """Numbers of units of the body that may go one by one; in norms over units only twice as many prove that."""
    sizes = {n: anatomy.units[n].size for n in _single(anatomy)}
    more = {n: np.arange(size + (size if n in anatomy.roles.normed else 1)) % size for n, size in sizes.items()}
    return keeping(network, sample, anatomy, more, seed=0)


def _remaining(
    anatomy: Anatomy, worth: Mapping[int, np.ndarray], target: int, network: Network
) -> dict[int, np.ndarray]:
    """Units to keep, by number, so that at most `target` parameters are left; the threshold is found by halving."""
    names = [name for name, _ in network.named_parameters() if name in anatomy.axes]
    counted = {name: anatomy.axes[name] for name in names}
    score = {n: own / _price(anatomy, counted, n) for n, own in worth.items()}
    every = np.sort(np.concatenate(list(score.values()))) if score else np.zeros(0)
    low, high = 0, len(every)
    while low < high:  # the fewest units to go that meet the target
        middle = (low + high) // 2
        kept = _above(score, every[middle])
        sizes = {n: len(own) for n, own in kept.items()}
        fits = sum(math.prod(anatomy.shape(name, sizes)) for name in names) <= target
        low, high = (low, middle) if fits else (middle + 1, high)
    if low == len(every):
        raise WeightsError(
            f"The network cannot be pruned to {target:,} parameters: of what may go, every layer keeps a tenth of"
            " its units. Ask for a smaller share, or distil into a smaller network."
        )
    return _above(score, every[low])


def _above(score: Mapping[int, np.ndarray], threshold: float) -> dict[int, np.ndarray]:
    """Units whose score is above the threshold; of every layer at least a tenth, and whole eights where it is wide."""
    found = {}
    for n, own in score.items():
        count = _rounded(int((own > threshold).sum()), len(own))
        found[n] = np.sort(np.argsort(-own, kind="stable")[:count])
    return found


def _rounded(count: int, size: int) -> int:
    """Processors compute eight channels as fast as seven."""
    multiple = 8 if size >= 64 else 4 if size >= 32 else 1
    least = max(1, math.ceil(_LEAST * size))
    return min(size, max(multiple, math.ceil(max(count, least) / multiple) * multiple))


def _price(anatomy: Anatomy, counted: Mapping[str, tuple[object, ...]], number: int) -> float:
    """Parameters that go with one of the units."""
    names = {name for name, _ in anatomy.units[number].tensors if name in counted}
    return max(1.0, sum(math.prod(anatomy.shape(name, {})) for name in names) / anatomy.units[number].size)


def _count(network: Network) -> int:
    return sum(parameter.numel() for parameter in network.parameters())
