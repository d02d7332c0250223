"""Examples as the logistic solver reads them: in blocks, in coordinates that decorrelate the features.

An L2 penalty does not see a rotation, so the features (divided by `scale_D`, which is the penalty's metric) are turned
into the eigenvectors of their weighted covariance, where the Hessian of the loss is almost diagonal. With fewer
examples than features only the directions that the examples span matter (the representer theorem). The turned features
serve the search only and are kept in low precision; what is certified is computed from the features as given.
Where even that copy would be too large, it is made anew, block by block, in every pass.
Letters: N examples, n examples of a block, D features, R directions kept, P = R + 1 with the intercept, C columns,
K problems (one for every fold that is held out), a those problems that learn from a block.
"""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfuse.core.nouns import Kind
from transfuse.probing.moments import covariance_DD, mean_D, moments

Array = NDArray[np.float64]

NONE_HELD = -1
"""The held-out fold of the problem that learns from all examples."""
_IN_MEMORY = 1 << 30
"""Bytes of a working copy above which it is made anew in every pass, or kept in a scratch file."""
_SMALL = 1 << 27
"""Bytes up to which a second copy in float32 saves the time to make it anew."""
_TOP = 64
"""Leading directions that are solved for themselves."""
EVERY = 32
"""One example in so many is computed twice, to know the rounding of float32."""
_SPAN = 1 << 16
"""Rows that are read together when they are not kept in memory."""
_MIXED = 1 << 17
"""Logits of all problems up to which one block of all folds is faster than one block a fold."""
_CACHE = 1 << 18
"""Logits of a block of one fold: 1 MB in float32."""
_NEGLIGIBLE = 1e-13
"""Eigenvalues below this share of the largest one are rounding, in float64."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """Some examples: all of one fold, or of all folds."""

    rows_n: np.ndarray | slice
    """Their places in `x_ND`."""
    on: tuple[int, ...]
    """The problems that learn from some of them."""
    left: tuple[tuple[int, np.ndarray | slice], ...]
    """The problems that leave some of them out, and which ones."""
    target_Cn: Tensor
    """Float32."""
    weight_an: Tensor
    """Float64; 0 for an example that the problem leaves out. One row where it is the same for all problems."""
    narrow_an: Tensor
    """The same in float32."""
    narrow_nP: Tensor | None
    """Their coordinates with a 1 as the last one; None where there is no room for them."""
    wide_nP: Tensor | None
    """The same in float32, or None."""
    top_nT: Tensor
    """The first `Rows.top` coordinates and the 1, float32."""
    sample_mP: Tensor
    """Coordinates of every `EVERY`-th one with a 1 as the last one, float64."""


@dataclass(frozen=True, kw_only=True)
class Rows:
    """All examples, and the problems that are to be solved on them."""

    x_ND: np.ndarray
    """As given; may be memory-mapped."""
    blocks: tuple[Block, ...]
    held: tuple[int, ...]
    """The fold that each problem leaves out, or `NONE_HELD`."""
    kind: Kind
    mean_D: Tensor
    scale_D: Tensor
    inverse_D: Tensor
    """1 / scale, and 0 for a feature of scale 0, which then has no weight."""
    vectors_DR: Tensor
    """Directions of the basis in scaled features: orthonormal, float64."""
    spread_DR: Tensor
    """The same in features: divided by the scale."""
    narrow_spread_DR: Tensor
    """The same in float32."""
    value_P: Tensor
    """Variances along the directions, largest first, and 1 for the intercept; float32."""
    total_K: Tensor
    """Sum of the weights of the examples that a problem learns from; 1 where it is 0."""
    count_K: Tensor
    """Number of examples of positive weight among them."""
    share_KC: Tensor
    """Weighted mean of the targets."""
    live_KC: Tensor
    """Whether a column has a finite optimum: both values occur (or, for classes, at least one example does)."""
    top: int
    """Number of leading directions that are solved for themselves."""
    turned: bool
    """Whether cheap passes are made over coordinates."""
    turned_wide: bool
    """Whether passes in float32 are."""
    dtype: torch.dtype
    """Of cheap passes."""
    exact: bool
    """Whether surveys compute all products in float64, or in float32 with a measured error."""


def make_rows(
    x_ND: np.ndarray,
    targets_NC: np.ndarray,
    weights_N: Array,
    fold_N: np.ndarray,
    kind: Kind,
    *,
    held: tuple[int, ...],
    scale_D: np.ndarray | None,
    dtype: torch.dtype,
    exact: bool,
) -> Rows:
    """Blocks, basis, and a problem for every entry of `held`."""
    mean, scale, vectors_DR, value_R = _basis(x_ND, weights_N, scale_D)
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
    spread_DR = vectors_DR * inverse[:, None]
    numbers = len(x_ND) * (vectors_DR.shape[1] + 1)
    turned = numbers * dtype.itemsize <= _IN_MEMORY
    dtype = dtype if turned else torch.float32  # see `change`: ways are rounded in the basis only
    turned_wide = turned and (dtype is torch.float32 or numbers * 4 <= _SMALL)
    top = min(_TOP, vectors_DR.shape[1])
    blocks = []
    for rows_n in _cut(fold_N, len(held) * targets_NC.shape[1], len(x_ND) if turned else _SPAN):
        directions = spread_DR.astype(np.float32) if turned else spread_DR[:, :top].astype(np.float32)
        z_nP = _turned(x_ND[rows_n], mean, directions)
        blocks.append(
            _block(
                rows_n,
                targets_NC,
                weights_N,
                fold_N,
                held,
                narrow_nP=z_nP.to(dtype) if turned else None,
                wide_nP=z_nP if turned_wide else None,
                top_nT=z_nP[:, [*range(top), -1]].contiguous(),
                sample_mP=_turned(x_ND[_every(rows_n, len(x_ND))], mean, spread_DR),
            )
        )
    total_K, count_K, share_KC, live_KC = _problems(targets_NC, weights_N, fold_N, held, kind)
    return Rows(
        x_ND=x_ND,
        blocks=tuple(blocks),
        held=held,
        kind=kind,
        mean_D=torch.from_numpy(mean),
        scale_D=torch.from_numpy(scale),
        inverse_D=torch.from_numpy(inverse),
        vectors_DR=torch.from_numpy(vectors_DR),
        spread_DR=torch.from_numpy(spread_DR),
        narrow_spread_DR=torch.from_numpy(spread_DR).float(),
        value_P=torch.from_numpy(np.append(value_R, 1.0)).float(),
        total_K=torch.from_numpy(total_K),
        count_K=torch.from_numpy(count_K),
        share_KC=torch.from_numpy(share_KC),
        live_KC=torch.from_numpy(live_KC),
        top=top,
        turned=turned,
        turned_wide=turned_wide,
        dtype=dtype,
        exact=exact,
    )


def for_all(rows: Rows, targets_NC: np.ndarray, weights_N: Array, exact: bool) -> Rows:
    """The same examples, targets and weights, for the one problem that learns from all of them."""
    held, nowhere_N = (NONE_HELD,), np.zeros(len(rows.x_ND), dtype=np.int64)
    total_K, count_K, share_KC, live_KC = _problems(targets_NC, weights_N, nowhere_N, held, rows.kind)
    blocks = (
        _block(
            block.rows_n,
            targets_NC,
            weights_N,
            nowhere_N,
            held,
            narrow_nP=block.narrow_nP,
            wide_nP=block.wide_nP,
            top_nT=block.top_nT,
            sample_mP=block.sample_mP,
        )
        for block in rows.blocks
    )
    return replace(
        rows,
        blocks=tuple(blocks),
        held=held,
        total_K=torch.from_numpy(total_K),
        count_K=torch.from_numpy(count_K),
        share_KC=torch.from_numpy(share_KC),
        live_KC=torch.from_numpy(live_KC),
        exact=exact,
    )


def narrow(rows: Rows, block: Block) -> Tensor:
    """Examples for a cheap pass: coordinates where `rows.turned`, else features."""
    return block.narrow_nP if block.narrow_nP is not None else features(rows, block, torch.float32)


def wide(rows: Rows, block: Block) -> Tensor:
    """Examples in float32: coordinates where `rows.turned_wide`, else features."""
    return block.wide_nP if block.wide_nP is not None else features(rows, block, torch.float32)


def features(rows: Rows, block: Block, dtype: torch.dtype) -> Tensor:
    """The features of a block less their mean, with a 1 as the last one: (n, D + 1)."""
    z_nE = torch.ones(len(block.narrow_an[0]), rows.x_ND.shape[1] + 1, dtype=dtype)
    _less(rows.x_ND[block.rows_n], rows.mean_D.numpy(), z_nE[:, :-1].numpy())
    return z_nE


def inwards(rows: Rows, slope_KCP: Tensor, turned: bool) -> Tensor:
    """Slopes along the basis, in the terms of coordinates (as they are) or of features (..., D + 1)."""
    if turned:
        return slope_KCP
    spread_DR = rows.spread_DR if slope_KCP.dtype is torch.float64 else rows.narrow_spread_DR
    return torch.cat([slope_KCP[..., :-1] @ spread_DR.T, slope_KCP[..., -1:]], dim=-1)


def outwards(rows: Rows, product_KCQ: Tensor, turned: bool) -> Tensor:
    """Products with coordinates or features, in the terms of the basis."""
    if turned:
        return product_KCQ
    spread_DR = rows.spread_DR if product_KCQ.dtype is torch.float64 else rows.narrow_spread_DR
    return torch.cat([product_KCQ[..., :-1] @ spread_DR, product_KCQ[..., -1:]], dim=-1)


def scratch(shape: tuple[int, ...], total_bytes: int) -> Tensor:
    """An uninitialised float32 tensor: in memory, or in a nameless file where all of them would be too large."""
    if total_bytes <= _IN_MEMORY:
        return torch.empty(shape)
    with tempfile.TemporaryFile() as file:
        return torch.from_numpy(np.memmap(file, dtype=np.float32, mode="w+", shape=shape))


def _basis(x_ND: np.ndarray, weights_N: Array, scale_D: np.ndarray | None) -> tuple[Array, Array, Array, Array]:
    """Mean (D,), scale (D,), directions (D, R) and the variances along them (R,), largest first."""
    n, d = x_ND.shape
    if n < d:
        return _dual_basis(x_ND, weights_N, scale_D)
    statistics = moments(x_ND, np.zeros((n, 0)), weights_N)
    mean, covariance_ = mean_D(statistics), covariance_DD(statistics)
    scale = _scale(scale_D, np.diag(covariance_), mean)
    inverse = np.divide(1.0, scale, out=np.zeros(d), where=scale > 0)
    values, vectors = np.linalg.eigh(covariance_ * np.outer(inverse, inverse))
    return mean, scale, vectors[:, ::-1].copy(), np.maximum(values[::-1], 0.0)


def _dual_basis(x_ND: np.ndarray, weights_N: Array, scale_D: np.ndarray | None) -> tuple[Array, Array, Array, Array]:
    """The same where there are fewer examples than features."""
    share_N = weights_N / weights_N.sum()
    mean = share_N @ x_ND.astype(np.float64)
    z_ND = x_ND - mean
    scale = _scale(scale_D, share_N @ z_ND**2, mean)
    z_ND = np.divide(z_ND, scale, out=np.zeros_like(z_ND), where=scale > 0)
    values, vectors = np.linalg.eigh(z_ND @ z_ND.T)
    kept = values > _NEGLIGIBLE * max(float(values[-1]), 1e-300)
    vectors_DR = (z_ND.T @ vectors[:, kept][:, ::-1]) / np.sqrt(values[kept][::-1])
    vectors_DR = np.linalg.qr(vectors_DR)[0]  # those of small eigenvalues are not quite orthogonal
    value_R = share_N @ (z_ND @ vectors_DR) ** 2
    return mean, scale, np.ascontiguousarray(vectors_DR), value_R


def _scale(scale_D: np.ndarray | None, variance_D: Array, mean: Array) -> Array:
    """The scale given, or standard deviations; 0 for a constant feature."""
    if scale_D is not None:
        return np.asarray(scale_D, dtype=np.float64)
    deviation_D = np.sqrt(np.maximum(variance_D, 0.0))
    return np.where(deviation_D > 1e-6 * np.abs(mean), deviation_D, 0.0)


def _cut(fold_N: np.ndarray, columns: int, span: int) -> Iterator[np.ndarray | slice]:
    """All rows, or rows of one fold and one span each, in pieces whose logits fit into the cache."""
    if len(fold_N) * columns <= _MIXED:
        yield slice(None)
        return
    order_N = np.lexsort((fold_N, np.arange(len(fold_N)) // span))
    size = min(max(_CACHE // columns, 512), 4096)
    for run in np.split(order_N, np.flatnonzero(np.diff(fold_N[order_N])) + 1):
        yield from np.array_split(run, -(-len(run) // size))


def _block(
    rows_n: np.ndarray | slice,
    targets_NC: np.ndarray,
    weights_N: Array,
    fold_N: np.ndarray,
    held: tuple[int, ...],
    *,
    narrow_nP: Tensor | None,
    wide_nP: Tensor | None,
    top_nT: Tensor,
    sample_mP: Tensor,
) -> Block:
    outside_Kn = fold_N[rows_n] == np.array(held)[:, None]
    on = tuple(np.flatnonzero(~outside_Kn.all(axis=1)).tolist())
    weight_an = weights_N[rows_n] * ~outside_Kn[list(on)]
    if not outside_Kn[list(on)].any():
        weight_an = weights_N[rows_n][None]
    return Block(
        rows_n=rows_n,
        on=on,
        left=tuple((k, _indices(outside_n)) for k, outside_n in enumerate(outside_Kn) if outside_n.any()),
        target_Cn=torch.from_numpy(np.ascontiguousarray(targets_NC[rows_n].T, dtype=np.float32)),
        weight_an=torch.from_numpy(weight_an),
        narrow_an=torch.from_numpy(weight_an.astype(np.float32)),
        narrow_nP=narrow_nP,
        wide_nP=wide_nP,
        top_nT=top_nT,
        sample_mP=sample_mP,
    )


def _indices(chosen_n: np.ndarray) -> np.ndarray | slice:
    return slice(None) if chosen_n.all() else np.flatnonzero(chosen_n)


def _less(x_nD: np.ndarray, mean: Array, out_nD: np.ndarray) -> None:
    """x - mean; in float32 only where x is no wider."""
    if out_nD.dtype == np.float32 and x_nD.dtype in (np.float32, np.float16):
        np.subtract(x_nD, mean.astype(np.float32), out=out_nD, dtype=np.float32)
    else:
        out_nD[...] = np.subtract(x_nD, mean, dtype=np.float64)


def _turned(x_nD: np.ndarray, mean: Array, spread_DR: np.ndarray) -> Tensor:
    """Coordinates with a 1 as the last one, in the precision of the directions."""
    away_nD: np.ndarray = np.empty(x_nD.shape, dtype=spread_DR.dtype)
    _less(x_nD, mean, away_nD)
    z_nP: np.ndarray = np.ones((len(x_nD), spread_DR.shape[1] + 1), dtype=spread_DR.dtype)
    z_nP[:, :-1] = away_nD @ spread_DR
    return torch.from_numpy(z_nP)


def _every(rows_n: np.ndarray | slice, n: int) -> np.ndarray | slice:
    return slice(0, n, EVERY) if isinstance(rows_n, slice) else rows_n[::EVERY]


def _problems(
    targets_NC: np.ndarray, weights_N: Array, fold_N: np.ndarray, held: tuple[int, ...], kind: Kind
) -> tuple[Array, Array, Array, np.ndarray]:
    """Total weight (K,), count (K,), mean target (K, C) and whether it has a finite optimum (K, C)."""
    inside_KN = (fold_N != np.array(held)[:, None]) & (weights_N > 0)
    total_K = inside_KN @ weights_N
    count_K = inside_KN.sum(axis=1).astype(np.float64)
    positive_KC = inside_KN.astype(np.float64) @ (targets_NC > 0)
    live_KC = positive_KC > 0
    if kind == "multi-label":
        live_KC &= positive_KC < count_K[:, None]
    total_K[total_K == 0] = 1.0
    return total_K, count_K, (inside_KN * weights_N) @ targets_NC / total_K[:, None], live_KC
