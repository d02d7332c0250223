"""Applying permutations to tensors, and the proof that the network's function stays as it is."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import nn

from transfuse.core.randomness import key
from transfuse.fusing.alignment.symmetry import Block, Symmetry, blocks_by_tensor, without
from transfuse.training.averaging import copied

Orders = tuple[np.ndarray, ...]
"""For each group, where each unit of the result comes from: (n,), or (positions of the parent, n)."""

TOLERANCE = 1e-6
"""Largest change, as a share of the largest output, that a permutation may cause in float64; some networks compute
their norms in float32 whatever they are given, which alone makes 3e-8."""


def identity(symmetry: Symmetry) -> Orders:
    """Every unit where it is."""
    return tuple(_identity(symmetry, i) for i in range(len(symmetry.groups)))


def _identity(symmetry: Symmetry, number: int) -> np.ndarray:
    group = symmetry.groups[number]
    own = np.arange(group.size)
    return own if group.parent is None else np.tile(own, (symmetry.groups[group.parent].size, 1))


def drawn(symmetry: Symmetry, seed: int = 0) -> Orders:
    """Random orders."""
    rng = np.random.default_rng(key(seed, "permutations"))
    return tuple(rng.permuted(own, axis=-1) for own in identity(symmetry))


def ordered(view: torch.Tensor, block: Block, symmetry: Symmetry, orders: Orders) -> torch.Tensor:
    """A block in another order: groups first, then what has an order of its own at each position of one."""
    for dim, number in enumerate(block.groups):
        if number is not None and symmetry.groups[number].parent is None:
            view = view.index_select(dim, torch.from_numpy(orders[number]).to(view.device))
    for dim, number in enumerate(block.groups):
        parent = None if number is None else symmetry.groups[number].parent
        if number is not None and parent is not None:
            shape = [1] * view.ndim
            place = block.groups.index(parent)
            shape[place], shape[dim] = orders[number].shape
            own = orders[number] if place < dim else orders[number].T
            view = torch.take_along_dim(view, torch.from_numpy(own).to(view.device).reshape(shape), dim)
    return view


def permuted(tensors: Mapping[str, torch.Tensor], symmetry: Symmetry, orders: Orders) -> dict[str, torch.Tensor]:
    """Tensors of a network with its units in another order."""
    found = dict(tensors)
    for name, blocks in blocks_by_tensor(symmetry.blocks).items():
        if name in tensors:
            found[name] = tensors[name].clone(memory_format=torch.contiguous_format)
            for block in blocks:
                block.of(found[name]).copy_(ordered(block.of(tensors[name].contiguous()), block, symmetry, orders))
    return found


def proven(network: nn.Module, symmetry: Symmetry, sample: torch.Tensor, seed: int = 0) -> Symmetry:
    """The symmetry without groups whose permutation changes what the network answers on a sample.

    The groups follow from rules; this is the proof that the rules fitted this network. `sample` in its own type.
    """
    failed = _failing(network, symmetry, sample, drawn(symmetry, seed), symmetry.tops)
    return without(symmetry, set(failed), "permuting it changed what the network answers") if failed else symmetry


def _failing(
    network: nn.Module, symmetry: Symmetry, sample: torch.Tensor, orders: Orders, tops: Sequence[int]
) -> list[int]:
    """Groups, among `tops`, that change the function; found by halving."""
    if not tops or change(network, symmetry, sample, _only(symmetry, orders, tops)) <= TOLERANCE:
        return []
    if len(tops) == 1:
        return list(tops)
    half = len(tops) // 2
    return [n for part in (tops[:half], tops[half:]) for n in _failing(network, symmetry, sample, orders, part)]


def _only(symmetry: Symmetry, orders: Orders, tops: Sequence[int]) -> Orders:
    chosen = set(tops)
    return tuple(
        own if symmetry.top(i) in chosen else still
        for i, (own, still) in enumerate(zip(orders, identity(symmetry), strict=True))
    )


def change(network: nn.Module, symmetry: Symmetry, sample: torch.Tensor, orders: Orders) -> float:
    """Largest difference of answers that the orders cause, as a share of the largest answer; in float64."""
    wide = {name: t.double() if t.is_floating_point() else t for name, t in copied(network).items()}
    given = sample.double() if sample.is_floating_point() else sample
    own = network.eval()
    with torch.no_grad():
        before = torch.func.functional_call(own, wide, (given,), tie_weights=False)
        after = torch.func.functional_call(own, permuted(wide, symmetry, orders), (given,), tie_weights=False)
    return float((after - before).abs().max() / before.abs().max().clamp_min(1e-30))
