"""Weight matching: orders of one network's units that bring its weights nearest to another's.

Ainsworth, Hayase and Srinivasa, "Git Re-Basin: merging models modulo permutation symmetries", arXiv 2209.04836,
section 3.2: coordinate descent, one linear assignment for each group while all others stay. Ours: groups come from the
graph; heads are matched by what their channels reach under the best order of channels, which is an assignment inside
the assignment; a step that does not bring the weights nearer is not taken.
Letters: n units of a group, m units of one that has its own order at each position of the group, R everything else.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from transfuse.core.randomness import key
from transfuse.fusing.alignment.permuting import Orders, identity, ordered
from transfuse.fusing.alignment.symmetry import Block, Symmetry

Gains = dict[int, np.ndarray]
"""For each group what it is worth to put unit j in the place of unit i: (n, n); with a parent (n, n, m, m)."""
_PASSES = 100
_ENOUGH = 1e-7
"""Relative gain of a pass below which matching ends."""


def assigned(gain_nn: np.ndarray) -> np.ndarray:
    """The best order: at each place, the unit that comes there."""
    return np.asarray(linear_sum_assignment(gain_nn, maximize=True)[1])


def settled(gains: Gains, symmetry: Symmetry, top: int, orders: list[np.ndarray]) -> None:
    """The best order of a group, and of those that depend on it."""
    gain_nn = gains[top].copy()
    below = [i for i in gains if symmetry.groups[i].parent == top]
    inner = {i: _inside(gains[i]) for i in below}
    for i in below:
        gain_nn += inner[i][0]
    orders[top] = assigned(gain_nn)
    for i in below:
        orders[i] = inner[i][1][np.arange(len(gain_nn)), orders[top]]


def _inside(gain_nnmm: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What each pair of positions is worth under its best order within, (n, n), and that order, (n, n, m)."""
    n, _, m, _ = gain_nnmm.shape
    found = np.array([[assigned(gain_nnmm[i, j]) for j in range(n)] for i in range(n)])
    worth = np.take_along_axis(gain_nnmm, found[..., None], axis=3)[..., 0].sum(-1)
    return worth, found.reshape(n, n, m)


def weight_matched(
    reference: Mapping[str, Tensor],
    other: Mapping[str, Tensor],
    symmetry: Symmetry,
    *,
    names: Sequence[str],
    seed: int = 0,
) -> Orders:
    """The orders of the `other` network's units that bring its tensors nearest to the `reference`.

    names: Tensors that count: parameters, not statistics.
    """
    chosen = set(names)
    blocks = [block for block in symmetry.blocks if block.tensor in chosen]
    views = [(b, b.of(_plain(reference[b.tensor])), b.of(_plain(other[b.tensor]))) for b in blocks]
    orders = list(identity(symmetry))
    around = {
        top: [view for view in views if any(symmetry.top(g) == top for g in view[0].groups if g is not None)]
        for top in symmetry.tops
    }
    rng = np.random.default_rng(key(seed, "weight matching"))
    before = _nearness(views, symmetry, orders)
    for _ in range(_PASSES):
        for top in rng.permutation(list(around)):
            _improve(int(top), around[int(top)], symmetry, orders)
        now = _nearness(views, symmetry, orders)
        if now - before <= _ENOUGH * max(abs(before), 1e-12):
            break
        before = now
    return tuple(orders)


_Views = Sequence[tuple[Block, Tensor, Tensor]]


def _plain(tensor: Tensor) -> Tensor:
    return tensor.detach().float().contiguous()


def _nearness(views: _Views, symmetry: Symmetry, orders: Sequence[np.ndarray]) -> float:
    """The inner product of the reference and the ordered tensors: what matching raises."""
    return sum(
        float(torch.sum(a.double() * ordered(b, block, symmetry, tuple(orders)).double())) for block, a, b in views
    )


def _improve(top: int, views: _Views, symmetry: Symmetry, orders: list[np.ndarray]) -> None:
    """One assignment for a group and what depends on it, then one for each of the latter at its new places."""
    below = [i for i, group in enumerate(symmetry.groups) if group.parent == top]
    if not below and all(block.groups.count(top) == 1 for block, _, _ in views):
        _step(top, views, symmetry, orders)  # the gain is exact, so that the assignment cannot lose
        return
    steps: list[Callable[[list[np.ndarray]], None]] = [lambda found: _step(top, views, symmetry, found)]
    steps += [lambda found, i=i: _step_within(i, views, symmetry, found) for i in below]  # type: ignore[misc]
    for step in steps:
        found = list(orders)
        step(found)
        if _nearness(views, symmetry, found) > _nearness(views, symmetry, orders):
            orders[:] = found


def _step(top: int, views: _Views, symmetry: Symmetry, orders: list[np.ndarray]) -> None:
    gains: Gains = {top: np.zeros([symmetry.groups[top].size] * 2)}
    still = list(orders)
    for i, own in enumerate(identity(symmetry)):
        if symmetry.top(i) == top:
            still[i] = own
    for block, a, b in views:
        within = [dim for dim, g in enumerate(block.groups) if g is not None and symmetry.groups[g].parent == top]
        b = ordered(b, block, symmetry, tuple(still))
        for dim, number in enumerate(block.groups):
            if number == top and not within:
                gains[top] += _crossed(a, b, (dim,))
            elif number == top and len(within) == 1:  # with two, neither order is known without the other
                _add(gains, block.groups[within[0]], _crossed(a, b, (dim, within[0])))
    settled(gains, symmetry, top, orders)


def _add(gains: Gains, number: int | None, gain: np.ndarray) -> None:
    assert number is not None
    gains[number] = gains[number] + gain if number in gains else gain


def _step_within(number: int, views: _Views, symmetry: Symmetry, orders: list[np.ndarray]) -> None:
    """New orders within each position, while the positions stay where they are."""
    parent = symmetry.groups[number].parent
    still = list(orders)
    still[number] = identity(symmetry)[number]
    total: np.ndarray | None = None
    for block, a, b in views:
        if number in block.groups:
            dims = (block.groups.index(parent), block.groups.index(number))
            gain = _crossed(a, ordered(b, block, symmetry, tuple(still)), dims)
            gain = gain[np.arange(len(gain)), np.arange(len(gain))]
            total = gain if total is None else total + gain
    if total is not None:
        orders[number] = np.array([assigned(own) for own in total])


def _crossed(a: Tensor, b: Tensor, dims: tuple[int, ...]) -> np.ndarray:
    """Inner products of every unit of a with every unit of b: (n, n), or (n, n, m, m)."""
    x, y = (t.movedim(dims, tuple(range(len(dims)))) for t in (a, b))
    shape = x.shape[: len(dims)]
    x, y = x.reshape(shape.numel(), -1), y.reshape(shape.numel(), -1)
    gain = (x @ y.T).double().numpy()
    return gain if len(dims) == 1 else gain.reshape(*shape, *shape).transpose(0, 2, 1, 3)
