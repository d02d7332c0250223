"""Passes over the rows: how the gradient changes along a step, and where the examples' odds go.

What is kept of an example is the odds of every other class against its own, or of the wrong answer to every label:
exp(l_c - l_y). So p - t has all its digits also where an example is almost certain, in float32 too, and a step
multiplies. `change` tells in low precision how the gradient changes along a step from where the odds are, and `take`
makes its end the start of the next one. Only changes are rounded: the smaller the step that is left, the smaller the
error, as in iterative refinement (Higham, "Accuracy and Stability of Numerical Algorithms", chapter 12).
Letters: see `rows.py`; Q coordinates of a view, and 1.
"""

import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from transfuse.probing.logistic.rows import IN_MEMORY, Block, Rows, features, inwards, learners, outwards

View = Literal["all", "top"]
"""All directions in the precision of the search, or the leading ones in the precision of odds."""

_LOG2E = 1.4426950408889634


@dataclass(frozen=True, kw_only=True)
class Odds:
    """Of every block (a, C, n); 0 for the class of the example and for columns without an optimum."""

    here: list[Tensor]
    tried: list[Tensor]
    """Where the last `change` went."""


def blank_odds(rows: Rows) -> Odds:
    """Uninitialised ones: in memory, or in nameless files where all of them would be too large."""
    shapes = [(len(learners(rows, block)), *block.target_Cn.shape) for block in rows.blocks]
    large = 2 * rows.odds_dtype.itemsize * sum(a * c * n for a, c, n in shapes) > IN_MEMORY
    make = _in_a_file if large else torch.empty
    here, tried = ([make(shape, dtype=rows.odds_dtype) for shape in shapes] for _ in range(2))
    return Odds(here=here, tried=tried)


def largest(rows: Rows) -> float:
    """Logarithm of the largest odds: sums of them are finite, and so are they times a sensible step."""
    return 600.0 if rows.odds_dtype is torch.float64 else 60.0


def places(rows: Rows, block: Block, active: Sequence[int]) -> tuple[list[int], list[int]]:
    """The active problems that learn from a block, and where they are among all that do."""
    learning = learners(rows, block)
    on = [k for k in learning if k in active]
    return on, [learning.index(k) for k in on]


def at(tensor: Tensor, where: list[int]) -> Tensor:
    """Some entries; the tensor itself where these are all."""
    return tensor if len(tensor) == len(where) else tensor[where]


def put(into: Tensor, where: list[int], values: Tensor) -> None:
    """Values into some entries."""
    if len(where) == len(into):
        into.copy_(values)
    else:
        into[where] = values.to(into.dtype)


def visits(
    rows: Rows, odds: Odds, active: Sequence[int]
) -> Iterator[tuple[Block, list[int], list[int], Tensor, Tensor]]:
    """Every block with its active problems, their places, and all odds, here and tried."""
    for block, here, tried in zip(rows.blocks, odds.here, odds.tried, strict=True):
        on, where = places(rows, block, active)
        if on:
            yield block, on, where, here, tried


def logits(slope_aCQ: Tensor, z_nR: Tensor, dtype: torch.dtype) -> Tensor:
    """Products of slopes with examples, (a, C, n); the last slope is the intercept."""
    product = _product(slope_aCQ[..., :-1].flatten(0, 1).to(z_nR.dtype), z_nR.T)
    return product.view(*slope_aCQ.shape[:2], -1).to(dtype).add_(slope_aCQ[..., -1:])


def products(residual_aCn: Tensor, z_nR: Tensor) -> Tensor:
    """Sums over examples of residuals times coordinates and 1, (a, C, Q)."""
    product = _product(residual_aCn.flatten(0, 1).to(z_nR.dtype), z_nR).view(*residual_aCn.shape[:2], -1)
    return torch.cat([product.to(residual_aCn.dtype), residual_aCn.sum(-1, keepdim=True)], dim=-1)


def _product(a: Tensor, b: Tensor) -> Tensor:
    """Matrix product; by numpy's BLAS where it can, which is a fifth faster in these shapes than torch's."""
    if a.dtype is torch.bfloat16:
        return a @ b
    with np.errstate(over="ignore", invalid="ignore"):  # a step that goes too far is found by its slope, and shortened
        return torch.from_numpy(a.numpy() @ b.numpy())


def relative(rows: Rows, block: Block, change_aCn: Tensor) -> Tensor:
    """Logits, or their changes, less those of the own class; of labels, against the right answer. In place."""
    if rows.kind == "single-label":
        return change_aCn.sub_((change_aCn * block.target_Cn).sum(1, keepdim=True))
    return change_aCn.mul_(1.0 - 2.0 * block.target_Cn)


def residuals(rows: Rows, block: Block, odds_aCn: Tensor) -> Tensor:
    """p - t, times the weights, with all digits."""
    target_Cn, weight_n = block.target_Cn.to(odds_aCn.dtype), block.weight_n.to(odds_aCn.dtype)
    if rows.kind == "single-label":
        others_a1n = odds_aCn.sum(1, keepdim=True)
        share_a1n = weight_n / (1.0 + others_a1n)
        return (odds_aCn * share_a1n).addcmul_(target_Cn, others_a1n.mul_(share_a1n), value=-1.0)
    return (odds_aCn / (1.0 + odds_aCn)).mul_((1.0 - 2.0 * target_Cn) * weight_n)


def multiplied(rows: Rows, odds_aCn: Tensor, relative_aCn: Tensor) -> Tensor:
    """Odds after a relative change of logits, which is overwritten."""
    return relative_aCn.mul_(_LOG2E).exp2_().mul_(odds_aCn).clamp_max_(math.exp(largest(rows)))


def change(rows: Rows, odds: Odds, way_KCQ: Tensor, length_K: Tensor, active: Sequence[int], view: View) -> Tensor:
    """How the gradient of the loss changes (K, C, Q) a length along a way; 0 for other problems.

    The way must be `rounded`.
    """
    turned = view == "top" or rows.blocks[0].z_nR is not None
    inward_KCQ = way_KCQ if turned else inwards(rows, way_KCQ)
    sums_KCQ = torch.zeros_like(inward_KCQ)
    for block, on, where, here, tried in visits(rows, odds, active):
        z_nR = _seen(rows, block, view)
        moved_aCn = relative(rows, block, logits(inward_KCQ[on], z_nR, rows.odds_dtype))
        before_aCn = at(here, where)
        after_aCn = multiplied(rows, before_aCn, moved_aCn.mul_(length_K[on][:, None, None]))
        put(tried, where, after_aCn)
        difference_aCn = residuals(rows, block, after_aCn).sub_(residuals(rows, block, before_aCn))
        sums_KCQ[on] += products(difference_aCn, z_nR)
    sums_KCQ /= rows.total_K[:, None, None]
    return sums_KCQ if turned else outwards(rows, sums_KCQ)


def take(rows: Rows, odds: Odds, taken: Sequence[int]) -> None:
    """Where the last `change` went is where the next one starts, for the problems taken."""
    for i, block in enumerate(rows.blocks):
        on, where = places(rows, block, taken)
        if len(on) == len(odds.here[i]):
            odds.here[i], odds.tried[i] = odds.tried[i], odds.here[i]
        elif on:
            odds.here[i][where] = odds.tried[i][where]


def rounded(rows: Rows, way_KX: Tensor, view: View) -> Tensor:
    """A way in the digits that `change` sees: what it does not see would be missed by all rows alike."""
    return way_KX if view == "top" else way_KX.to(rows.dtype).to(rows.odds_dtype)


def _seen(rows: Rows, block: Block, view: View) -> Tensor:
    if view == "top":
        return block.top_nT
    return features(rows, block, rows.odds_dtype) if block.z_nR is None else block.z_nR


def _in_a_file(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    with tempfile.TemporaryFile() as file:
        numpy_dtype = np.float64 if dtype is torch.float64 else np.float32
        return torch.from_numpy(np.memmap(file, dtype=numpy_dtype, mode="w+", shape=shape))
