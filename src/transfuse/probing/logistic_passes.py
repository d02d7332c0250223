"""Cheap passes over the rows: how the gradient changes along a step, and where the examples' probabilities go.

`change` tells in low precision how the gradient changes along a step from where the probabilities are, and `take` makes
its end the start of the next one. Only changes are rounded: the smaller the step that is left, the smaller the error,
as in iterative refinement (Higham, "Accuracy and Stability of Numerical Algorithms", chapter 12).
`logistic_surveys.py` starts it with exact probabilities.
Letters: see `logistic_rows.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from transfuse.core.nouns import Kind
from transfuse.probing.logistic_rows import Block, Rows, inwards, narrow, outwards, scratch, wide

_LOG2E = 1.4426950408889634


@dataclass(frozen=True, kw_only=True)
class Probabilities:
    """Of every block (a, C, n), float32: p for labels, p times the weight of the example for classes."""

    here: list[Tensor]
    tried: list[Tensor]
    """Where the last `change` went."""


def blank_probabilities(rows: Rows) -> Probabilities:
    """Uninitialised ones."""
    shapes = [(len(block.on), *block.target_Cn.shape) for block in rows.blocks]
    total = sum(8 * a * c * n for a, c, n in shapes)
    return Probabilities(here=[scratch(s, total) for s in shapes], tried=[scratch(s, total) for s in shapes])


def places(block: Block, active: Sequence[int]) -> list[int]:
    """Where the active problems are among those that learn from a block."""
    return [i for i, k in enumerate(block.on) if k in active]


def at(tensor: Tensor, indices: list[int]) -> Tensor:
    """Some entries; of a tensor with one entry for all problems, that one."""
    return tensor if len(tensor) in (1, len(indices)) else tensor[indices]


def put(into: Tensor, indices: list[int], values: Tensor) -> None:
    """Values into some entries."""
    if len(indices) == len(into):
        into.copy_(values)
    else:
        into[indices] = values.to(into.dtype)


def logits(slope_aCP: Tensor, z_nP: Tensor) -> Tensor:
    """Products of slopes with examples, (a, C, n)."""
    return _product(slope_aCP.flatten(0, 1), z_nP.T).view(*slope_aCP.shape[:2], -1)


def products(residual_aCn: Tensor, z_nP: Tensor) -> Tensor:
    """Sums over examples of residuals times coordinates, (a, C, P)."""
    return _product(residual_aCn.flatten(0, 1), z_nP).view(*residual_aCn.shape[:2], -1)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Matrix product; by numpy's BLAS where it can, which is a fifth faster in these shapes than torch's."""
    if a.dtype == torch.bfloat16:
        return a @ b
    with np.errstate(over="ignore", invalid="ignore"):  # a step that goes too far is found by its slope, and shortened
        return torch.from_numpy(a.numpy() @ b.numpy())


def rounded(rows: Rows, way_KX: Tensor) -> Tensor:
    """A way in the digits that `change` sees: what it does not see would be missed by all rows alike."""
    return (way_KX * _LOG2E).to(rows.dtype).float() / _LOG2E


def change(
    rows: Rows, p: Probabilities, way_KCP: Tensor, length_K: Tensor, active: Sequence[int], *, leap: bool = False
) -> Tensor:
    """How the gradient of the loss changes (K, C, P) a length along a way, float32; 0 for other problems.

    The way must be `rounded`, unless it is a `leap`: then logits are float32, since its error is the largest one.
    """
    turned, dtype = (rows.turned_wide, torch.float32) if leap else (rows.turned, rows.dtype)
    inward_KCQ = inwards(rows, way_KCP * _LOG2E, turned).to(dtype)
    sums: Tensor | float = 0.0
    for i, block in enumerate(rows.blocks):
        where = places(block, active)
        if where:
            on, whole, z_nQ = [block.on[w] for w in where], len(where) == len(block.on), narrow(rows, block)
            new_aCn = p.tried[i] if whole else torch.empty(len(on), *block.target_Cn.shape)
            new_aCn.copy_(logits(at(inward_KCQ, on), wide(rows, block) if leap else z_nQ))
            if not (length_K == 1).all():
                new_aCn *= length_K[on][:, None, None]
            moved = (_moved_exactly if rows.exact else _moved)(
                rows.kind, at(block.narrow_an, where), at(p.here[i], where), new_aCn
            )
            if not whole:
                p.tried[i][where] = new_aCn
            sums = _added(sums, len(way_KCP), on, products(moved.to(rows.dtype), z_nQ))
    return outwards(rows, sums / rows.total_K[:, None, None].float(), rows.turned)


def _added(sums: Tensor | float, problems: int, on: list[int], product_aCQ: Tensor) -> Tensor:
    """Sums (K, C, Q) in float32, with the products of some problems added."""
    if not isinstance(sums, Tensor):
        sums = torch.zeros(problems, *product_aCQ.shape[1:])
    sums[on] += product_aCQ.float()
    return sums


def take(rows: Rows, p: Probabilities, taken: Sequence[int]) -> None:
    """Where the last `change` went is where the next one starts, for the problems taken."""
    for i, block in enumerate(rows.blocks):
        where = places(block, taken)
        if len(where) == len(block.on):
            p.here[i], p.tried[i] = p.tried[i], p.here[i]
        elif where:
            p.here[i][where] = p.tried[i][where]


def _moved(kind: Kind, weight_an: Tensor, p_aCn: Tensor, change_aCn: Tensor) -> Tensor:
    """Change of the weighted probabilities; the logits' change (in powers of 2) becomes new probabilities in place."""
    power_aCn = change_aCn.exp2_().mul_(p_aCn)
    if kind == "single-label":
        power_aCn *= (weight_an / power_aCn.sum(1).clamp_min_(1e-38))[:, None]
        return power_aCn - p_aCn
    power_aCn /= power_aCn + (1.0 - p_aCn)
    return (power_aCn - p_aCn).mul_(weight_an[:, None])


def _moved_exactly(kind: Kind, weight_an: Tensor, p_aCn: Tensor, change_aCn: Tensor) -> Tensor:
    """The same with full relative precision of small changes, at twice the price."""
    grown_aCn = torch.expm1(change_aCn / _LOG2E).mul_(p_aCn)
    if kind == "single-label":
        mean_an = grown_aCn.sum(1) / weight_an.clamp_min(1e-38)
        moved = (grown_aCn - p_aCn * mean_an[:, None]) / (1.0 + mean_an)[:, None]
        torch.add(p_aCn, moved, out=change_aCn)
        return moved
    moved = grown_aCn * (1.0 - p_aCn) / (1.0 + grown_aCn)
    torch.add(p_aCn, moved, out=change_aCn)
    return moved.mul_(weight_an[:, None])
