"""Examples as the logistic solver reads them: in blocks of one fold, in coordinates that decorrelate the features.

An L2 penalty does not see a rotation, so the features (divided by `scale_D`, which is the penalty's metric) are turned
into the eigenvectors of their weighted covariance, where the Hessian of the loss is almost diagonal. With fewer
examples than features only the directions that the examples span matter (the representer theorem). The turned features
serve the search only and are kept in low precision; whatever is certified is computed from the features as given.
Where even that copy would be too large, it is made anew, block by block, in every pass.
Letters: N examples, n examples of a block, D features, R directions kept, P = R + 1 with the intercept, C columns,
K problems (one a held-out fold).
"""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass

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
_SPAN = 1 << 16
"""Rows that are read together when they are not kept in memory."""
_CACHE = 1 << 18
"""Logits of a block: 1 MB in float32."""
_NUMPY = {torch.float32: np.float32, torch.float64: np.float64}
_NEGLIGIBLE = 1e-13
"""Eigenvalues below this share of the largest one are rounding, in float64."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """Some examples of one fold."""

    fold: int
    rows_n: np.ndarray
    """Their places in `x_ND`, ascending."""
    target_Cn: Tensor
    weight_n: Tensor
    z_nP: Tensor | None
    """Their coordinates with a 1 as the last one; None when they are made anew in every pass."""


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
    vectors_DR: Tensor
    """Orthonormal, float64."""
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
    dtype: torch.dtype
    """Of the coordinates."""
    logits: torch.dtype
    """In which surveys compute logits: float32 with a measured error, or float64."""


def make_rows(
    x_ND: np.ndarray,
    targets_NC: np.ndarray,
    weights_N: np.ndarray,
    fold_N: np.ndarray,
    kind: Kind,
    *,
    held: tuple[int, ...],
    scale_D: np.ndarray | None,
    dtype: torch.dtype,
    logits: torch.dtype,
) -> Rows:
    """Blocks, basis, and a problem for every entry of `held`."""
    mean, scale, vectors_DR, value_R = _basis(x_ND, weights_N, scale_D)
    kept = len(x_ND) * (vectors_DR.shape[1] + 1) * dtype.itemsize <= _IN_MEMORY
    dtype = dtype if kept else torch.float32  # see `change`: ways are rounded in the basis only
    turn = (vectors_DR / scale[:, None]).astype(np.float32) if kept else None
    blocks = tuple(
        _block(x_ND, targets_NC, weights_N, rows_n, int(fold_N[rows_n[0]]), mean, turn, dtype)
        for rows_n in _cut(fold_N, len(held) * targets_NC.shape[1], len(x_ND) if kept else _SPAN)
    )
    total_K, count_K, share_KC, live_KC = _problems(targets_NC, weights_N, fold_N, held, kind)
    return Rows(
        x_ND=x_ND,
        blocks=blocks,
        held=held,
        kind=kind,
        mean_D=torch.from_numpy(mean),
        scale_D=torch.from_numpy(scale),
        vectors_DR=torch.from_numpy(vectors_DR),
        value_P=torch.from_numpy(np.append(value_R, 1.0)).float(),
        total_K=torch.from_numpy(total_K),
        count_K=torch.from_numpy(count_K),
        share_KC=torch.from_numpy(share_KC),
        live_KC=torch.from_numpy(live_KC),
        dtype=dtype,
        logits=logits,
    )


def trained_on(rows: Rows, block: Block, among: Sequence[int]) -> list[int]:
    """Those problems that learn from a block."""
    return [k for k in among if rows.held[k] != block.fold]


def raw(rows: Rows, block: Block) -> Tensor:
    """The features of a block as given, (n, D) in float64."""
    return torch.from_numpy(rows.x_ND[block.rows_n].astype(np.float64))


def examples(rows: Rows, block: Block, dtype: torch.dtype, every: int = 1) -> Tensor:
    """The features of a block, or of every so many-th example, less their mean."""
    x_nD = torch.from_numpy(rows.x_ND[block.rows_n[::every]].astype(_NUMPY[dtype]))
    return x_nD.sub_(rows.mean_D.to(dtype))


def coordinates(rows: Rows, block: Block) -> Tensor:
    """What the directions of `inwards` are multiplied with, (n, P) or (n, D + 1)."""
    if block.z_nP is not None:
        return block.z_nP
    return _with_one(examples(rows, block, torch.float32).div_(rows.scale_D.float()), rows.dtype)


def inwards(rows: Rows, v_KCP: Tensor) -> Tensor:
    """Directions of the basis in the terms of `coordinates`."""
    if rows.blocks[0].z_nP is not None:
        return v_KCP
    return torch.cat([v_KCP[..., :-1] @ rows.vectors_DR.T.to(v_KCP.dtype), v_KCP[..., -1:]], dim=-1)


def outwards(rows: Rows, g_KCP: Tensor) -> Tensor:
    """Products with `coordinates` in the terms of the basis."""
    if rows.blocks[0].z_nP is not None:
        return g_KCP
    return torch.cat([g_KCP[..., :-1] @ rows.vectors_DR.to(g_KCP.dtype), g_KCP[..., -1:]], dim=-1)


def scratch(shape: tuple[int, ...], total_bytes: int) -> Tensor:
    """An uninitialised float32 tensor: in memory, or in a nameless file where all of them would be too large."""
    if total_bytes <= _IN_MEMORY:
        return torch.empty(shape)
    with tempfile.TemporaryFile() as file:
        return torch.from_numpy(np.memmap(file, dtype=np.float32, mode="w+", shape=shape))


def _basis(x_ND: np.ndarray, weights_N: np.ndarray, scale_D: np.ndarray | None) -> tuple[Array, Array, Array, Array]:
    """Mean (D,), scale (D,), directions (D, R) and the variances along them (R,), largest first."""
    n, d = x_ND.shape
    if n >= d:
        statistics = moments(x_ND, np.zeros((n, 0)), weights_N)
        mean, covariance = mean_D(statistics), covariance_DD(statistics)
        scale = _scale(scale_D, np.sqrt(np.maximum(np.diag(covariance), 0.0)), mean)
        values, vectors = np.linalg.eigh(covariance / np.outer(scale, scale))
        return mean, scale, np.ascontiguousarray(vectors[:, ::-1]), np.maximum(values[::-1], 0.0)
    share_N = weights_N / weights_N.sum()
    mean = share_N @ x_ND.astype(np.float64)
    centred_ND = x_ND - mean
    scale = _scale(scale_D, np.sqrt(share_N @ centred_ND**2), mean)
    centred_ND /= scale
    values, vectors = np.linalg.eigh(centred_ND @ centred_ND.T)
    kept = values > _NEGLIGIBLE * max(float(values[-1]), 1e-300)
    vectors_DR = (centred_ND.T @ vectors[:, kept][:, ::-1]) / np.sqrt(values[kept][::-1])
    vectors_DR = np.linalg.qr(vectors_DR)[0]  # of small eigenvalues they are not quite orthogonal
    value_R = ((centred_ND @ vectors_DR) ** 2 * share_N[:, None]).sum(axis=0)
    return mean, scale, np.ascontiguousarray(vectors_DR), value_R


def _scale(scale_D: np.ndarray | None, deviation_D: Array, mean: Array) -> Array:
    """The scale given, or standard deviations; 1 for a constant feature, which then moves nothing."""
    if scale_D is None:
        scale_D = np.where(deviation_D > 1e-6 * np.abs(mean), deviation_D, 0.0)
    scale_D = np.asarray(scale_D, dtype=np.float64)
    return np.where(scale_D > 0, scale_D, 1.0)


def _cut(fold_N: np.ndarray, columns: int, span: int) -> list[np.ndarray]:
    """Rows of one fold and one span each, in pieces whose logits fit into the cache."""
    order_N = np.lexsort((fold_N, np.arange(len(fold_N)) // span))
    size = min(max(_CACHE // columns, 512), 4096)
    runs = np.split(order_N, np.flatnonzero(np.diff(fold_N[order_N])) + 1)
    return [piece for run in runs for piece in np.array_split(run, -(-len(run) // size))]


def _block(
    x_ND: np.ndarray,
    targets_NC: np.ndarray,
    weights_N: np.ndarray,
    rows_n: np.ndarray,
    fold: int,
    mean: Array,
    turn_DR: np.ndarray | None,
    dtype: torch.dtype,
) -> Block:
    z_nP = None
    if turn_DR is not None:
        z_nP = _with_one(torch.from_numpy((x_ND[rows_n] - mean).astype(np.float32) @ turn_DR), dtype)
    return Block(
        fold=fold,
        rows_n=rows_n,
        target_Cn=torch.from_numpy(np.ascontiguousarray(targets_NC[rows_n].T, dtype=np.float32)),
        weight_n=torch.from_numpy(weights_N[rows_n]),
        z_nP=z_nP,
    )


def _with_one(z_nR: Tensor, dtype: torch.dtype) -> Tensor:
    z_nP = torch.ones(len(z_nR), z_nR.shape[1] + 1, dtype=dtype)
    z_nP[:, :-1] = z_nR
    return z_nP


def _problems(
    targets_NC: np.ndarray, weights_N: np.ndarray, fold_N: np.ndarray, held: tuple[int, ...], kind: Kind
) -> tuple[Array, Array, Array, np.ndarray]:
    """Total weight (K,), count (K,), mean target (K, C) and whether it has a finite optimum (K, C)."""
    inside_KN = (fold_N[None] != np.array(held)[:, None]) & (weights_N > 0)
    total_K = inside_KN @ weights_N
    count_K = inside_KN.sum(axis=1).astype(np.float64)
    positive_KC = inside_KN.astype(np.float64) @ (targets_NC > 0)
    live_KC = positive_KC > 0
    if kind == "multi-label":
        live_KC &= positive_KC < count_K[:, None]
    total_K[total_K == 0] = 1.0
    return total_K, count_K, (inside_KN * weights_N) @ targets_NC / total_K[:, None], live_KC
