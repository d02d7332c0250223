"""Activation matching: units are matched by how their answers to the same examples correlate.

Li, Yosinski et al., "Convergent learning", arXiv 1511.07543; section 3.1 of arXiv 2209.04836.
Ours: what is looked at are the activations that layers sum over, as the graph tells them, of all places that share an
order; heads as in `matching`.
Letters: S examples times places, n units, m units within each.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx
from torch.export.graph_signature import InputKind

from transfuse.fusing.alignment.matching import Gains, settled
from transfuse.fusing.alignment.permuting import Orders, identity
from transfuse.fusing.alignment.symmetry import Block, Symmetry


class Watched(fx.Interpreter):
    """A traced graph, run with a state of one's choice; values of the nodes named are kept."""

    def __init__(self, graph: Any, names: Iterable[str]) -> None:
        super().__init__(graph.graph_module)
        self.program, self.names = graph, set(names)
        self.values: dict[str, Tensor] = {}

    def run_node(self, n: fx.Node) -> Any:
        """As the interpreter does, keeping what is asked for (as it is now: later operators may write into it)."""
        value = super().run_node(n)
        if n.name in self.names:
            self.values[n.name] = value.detach().clone()
        return value

    def over(self, state: Mapping[str, Tensor], batch: Tensor) -> Any:
        """The graph's output for a batch of the shape that it was traced with."""
        given = [self._input(spec, state, batch) for spec in self.program.graph_signature.input_specs]
        with torch.no_grad():
            return self.run(*given)[0]

    def _input(self, spec: Any, state: Mapping[str, Tensor], batch: Tensor) -> Any:
        if spec.kind == InputKind.USER_INPUT:
            return batch
        return state[spec.target] if spec.target in state else self.program.constants[spec.target]


@dataclass(kw_only=True)
class _Sums:
    """Running sums for the correlations of the units of a block in two networks."""

    crossed: Tensor
    sums: Tensor
    squares: Tensor
    count: int = 0

    def add(self, a_Sn: Tensor, b_Sn: Tensor) -> None:
        self.crossed += a_Sn.T @ b_Sn
        self.sums += torch.stack([a_Sn.sum(0), b_Sn.sum(0)])
        self.squares += torch.stack([a_Sn.square().sum(0), b_Sn.square().sum(0)])
        self.count += len(a_Sn)

    def correlations(self) -> np.ndarray:
        """(n, n); 0 for units that never change."""
        means, count = self.sums / self.count, self.count
        deviations = (self.squares / count - means.square()).clamp_min(0).sqrt()
        covariances = self.crossed / count - torch.outer(means[0], means[1])
        scale = torch.outer(deviations[0], deviations[1])
        return torch.where(scale > 1e-12, covariances / scale.clamp_min(1e-12), 0.0).double().numpy()


def activation_matched(
    reference: Mapping[str, Tensor],
    other: Mapping[str, Tensor],
    symmetry: Symmetry,
    batches: Iterable[Tensor],
) -> Orders:
    """The orders of the `other` network's units whose activations correlate best with the `reference`'s.

    batches: Of the shape for which the symmetry was found.
    """
    blocks = [block for block in symmetry.seen if _dims(block, symmetry)]
    names = {block.tensor for block in blocks}
    watched = [Watched(symmetry.graph, names) for _ in range(2)]
    sums: dict[tuple[int, tuple[int, ...]], _Sums] = {}
    for batch in batches:
        for run, state in zip(watched, (reference, other), strict=True):
            run.over(state, batch)
        for i, block in enumerate(blocks):
            a, b = (block.of(run.values[block.tensor].contiguous()).double() for run in watched)
            for dims in _dims(block, symmetry):
                x, y = _rows(a, dims), _rows(b, dims)
                _started(sums, (i, dims), x.shape[1]).add(x, y)
    return _settled(symmetry, blocks, sums)


def _started(sums: dict[Any, _Sums], place: Any, n: int) -> _Sums:
    if place not in sums:
        crossed, one, two = (torch.zeros(shape, dtype=torch.float64) for shape in ((n, n), (2, n), (2, n)))
        sums[place] = _Sums(crossed=crossed, sums=one, squares=two)
    return sums[place]


def _dims(block: Block, symmetry: Symmetry) -> list[tuple[int, ...]]:
    """The axes whose units are compared: of one group, or of one within another."""
    found: list[tuple[int, ...]] = []
    for dim, number in enumerate(block.groups):
        if number is not None:
            parent = symmetry.groups[number].parent
            below = any(g is not None and symmetry.groups[g].parent == number for g in block.groups)
            if parent is not None:
                found.append((block.groups.index(parent), dim))
            elif not below:
                found.append((dim,))
    return found


def _rows(values: Tensor, dims: tuple[int, ...]) -> Tensor:
    """(S, units)."""
    last = tuple(range(-len(dims), 0))
    units = math.prod(values.shape[dim] for dim in dims)
    return values.movedim(dims, last).reshape(-1, units)


def _settled(symmetry: Symmetry, blocks: Sequence[Block], sums: Mapping[tuple[int, tuple[int, ...]], _Sums]) -> Orders:
    gains: Gains = {}
    for (i, dims), own in sums.items():
        number = blocks[i].groups[dims[-1]]
        assert number is not None
        gain = own.correlations()
        if len(dims) == 2:
            n, m = symmetry.groups[blocks[i].groups[dims[0]]].size, symmetry.groups[number].size  # type: ignore[index]
            gain = gain.reshape(n, m, n, m).transpose(0, 2, 1, 3)
        gains[number] = gains.get(number, 0) + gain
    orders = list(identity(symmetry))
    for top in symmetry.tops:
        of_top = {i: g for i, g in gains.items() if top == symmetry.top(i)}
        if of_top:
            of_top.setdefault(top, np.zeros([symmetry.groups[top].size] * 2))
            settled(of_top, symmetry, top, orders)
    return tuple(orders)
