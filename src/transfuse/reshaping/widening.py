"""More units, the same function: units are copied, and layers that sum over copies split the weight between them.

Chen, Goodfellow and Shlens, "Net2Net: accelerating learning via knowledge transfer", arXiv 1511.05641. Ours: any
network whose graph can be traced; the weight of a unit is split unevenly, so that its copies see different gradients
and part (equal halves never do, under any optimiser); units of a LayerNorm, RMSNorm or GroupNorm are copied all equally
often, or their statistics would change; attention grows by whole heads. The result is run beside the original, and what
does not pass is left as it was and named.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from transfuse.core.errors import UsageError, WeightsError
from transfuse.core.randomness import key
from transfuse.reshaping.halving import passing
from transfuse.reshaping.resizing import Anatomy, Shares, anatomy_of, change_between, difference, in_body, resized
from transfuse.reshaping.units import Maps
from transfuse.sources.network import Network

TOLERANCE = 1e-5
"""See `resizing.difference`."""
_UNEVEN = (0.3, 0.7)
"""Bounds of a copy's share before shares are made to add up to 1."""


def widen(
    network: Network, sample: Tensor, ratio: float, *, seed: int = 0
) -> tuple[Network, dict[str, Any], dict[str, Any]]:
    """A wider copy that answers as the network does on a sample; its change; the facts.

    ratio: new units for each old one, above 1.
    Raises `UsageError`, `Untraceable`; `WeightsError` when nothing can grow.
    """
    if not ratio > 1 or not math.isfinite(ratio):
        raise UsageError(f"`widen` must be above 1, such as 1.5, but is {ratio:g}.")
    anatomy = anatomy_of(network, sample)
    wanted, kept = growth(anatomy, ratio)
    maps = {n: _copies(anatomy.units[n].size, size, key(seed, "copies", n)) for n, size in wanted.items()}
    good = keeping(network, sample, anatomy, maps, seed)
    kept |= {anatomy.units[n].name: "copying it changed what the network answers" for n in maps if n not in good}
    if not good:
        why = "; ".join(dict.fromkeys(kept.values())) or "it has no units"
        raise WeightsError(f"The network cannot be widened by {ratio:g}: {why}.")
    made = _grown(network, anatomy, {n: maps[n] for n in good}, seed)
    facts = {
        "grown": {anatomy.units[n].name: [anatomy.units[n].size, len(maps[n])] for n in sorted(good)},
        "kept": kept,
        "not_understood": list(anatomy.unknown),
        "difference": difference(network, made, sample),
    }
    return made, change_between(network.body, made.body), facts


def keeping(network: Network, sample: Tensor, anatomy: Anatomy, maps: Maps, seed: int) -> set[int]:
    """Numbers of units whose copies keep the function."""

    def same(chosen: Sequence[int]) -> bool:
        made = _grown(network, anatomy, {n: maps[n] for n in chosen}, seed)
        return difference(network, made, sample) <= TOLERANCE

    return passing(sorted(maps), same)


def growth(anatomy: Anatomy, ratio: float) -> tuple[dict[int, int], dict[str, str]]:
    """New sizes of units by number, and why others keep theirs."""
    roles, units = anatomy.roles, anatomy.units
    sizes: dict[int, int] = {}
    kept: dict[str, str] = {}
    for number in in_body(anatomy):
        own = units[number]
        if number in roles.still:
            kept[own.name] = roles.still[number]
        elif number in roles.normed and ratio < 2:
            kept[own.name] = f"{roles.normed[number]}, so it can only be copied whole: give 2 or more"
        else:
            sizes[number] = (
                own.size * int(ratio) if number in roles.normed else max(own.size + 1, round(own.size * ratio))
            )
    for number in set(anatomy.doubled(sizes)):
        kept[units[number].name] = "it stands inside other units, which are copied"
        del sizes[number]
    return sizes, kept


def _copies(size: int, new: int, seed: int) -> np.ndarray:
    """Every unit, then units to be copied: all of them before one is copied again."""
    rng = np.random.default_rng(seed)
    extra = [rng.permutation(size) for _ in range(math.ceil(new / size) - 1)]
    return np.concatenate([np.arange(size), *extra])[:new]


def _grown(network: Network, anatomy: Anatomy, maps: Maps, seed: int) -> Network:
    """The network with copies of units, the weight of each split between them."""
    return resized(network, anatomy, maps, _split(anatomy, maps, seed))


def _split(anatomy: Anatomy, maps: Maps, seed: int) -> Shares:
    """At every sum, shares of copies that add up to 1 for each unit."""
    found = {}
    for name, axis in anatomy.roles.summed_by:
        inside = [n for n in anatomy.orders.of(anatomy.axes[name][axis]) if n in maps]
        found[name, axis] = {n: _shares(maps[n], key(seed, "shares", name, n)) for n in inside}
    return {place: own for place, own in found.items() if own}


def _shares(map_: np.ndarray, seed: int) -> np.ndarray:
    drawn = np.random.default_rng(seed).uniform(*_UNEVEN, len(map_))
    return drawn / np.bincount(map_, weights=drawn)[map_]
