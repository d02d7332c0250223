"""Examples as the solver reads them: in blocks, in coordinates that decorrelate the features.

An L2 penalty does not see a rotation, so the features (divided by `scale_D`, which is the penalty's metric) are turned
into the eigenvectors of their weighted covariance, where the Hessian of the loss is almost diagonal. With fewer
examples than features only the directions that the examples span matter (the representer theorem). The turned features
serve the search only and are kept in low precision; what is certified is computed from the features as given.
Where even that copy would be too large, the search too reads the features as given.
Letters: N examples, n examples of a block, D features, R directions kept, P = R + 1 with the intercept, T the leading
directions, C columns, K problems (one for every fold that is held out), a those problems that learn from a block.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfuse.core.nouns import Kind
from transfuse.probing.basis import eigenvectors, row_deviations_D
from transfuse.probing.moments import covariance_DD, mean_D, moments

Array = NDArray[np.float64]

NONE_HELD = -1
"""The held-out fold of the problem that learns from all examples."""
IN_MEMORY = 1 << 30
"""Bytes of a working copy above which there is none."""
_TOP = 64
"""Leading directions that are solved for themselves."""
_CACHE = 1 << 18
"""Logits of a block: 1 MB in float32."""
_ROWS = 4096
"""Largest block."""


@dataclass(frozen=True, kw_only=True)
class Block:
    """Some examples of one fold."""

    rows_n: np.ndarray
    """Their places in `x_ND`."""
    fold: int
    weight_n: Tensor
    """In the precision of odds, as the next ones."""
    target_Cn: Tensor
    """0 or 1."""
    top_nT: Tensor
    """The first `top` coordinates."""
    z_nR: Tensor | None
    """All of them in the precision of the search; None where there is no room for them."""


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
    inverse_D: Tensor
    """1 / scale, and 0 for a feature of scale 0, which then has no weight."""
    vectors_DR: Tensor
    """Directions of the basis in scaled features: orthonormal, float64."""
    value_P: Tensor
    """Variances along the directions, largest first, and 1 for the intercept."""
    top: int
    """Number of leading directions that are solved for themselves."""
    dtype: torch.dtype
    """Of the search."""
    odds_dtype: torch.dtype
    survey_dtype: torch.dtype
    """Of the products in surveys."""
    total_K: Tensor
    """Sum of the weights of the examples that a problem learns from; 1 where it is 0."""
    count_K: Tensor
    """Number of examples of positive weight among them."""
    share_KC: Tensor
    """Weighted mean of the targets."""
    live_KC: Tensor
    """Whether a column has a finite optimum: both values occur (or, for classes, at least one example does)."""


def make_rows(
    x_ND: np.ndarray,
    targets_NC: np.ndarray,
    weights_N: Array,
    fold_N: np.ndarray,
    kind: Kind,
    *,
    scale_D: np.ndarray | None,
    dtype: torch.dtype,
) -> Rows:
    """Blocks, basis, and a problem for every fold; `dtype` is that of the search."""
    mean, inverse, vectors_DR, value_R = _basis(x_ND, weights_N, scale_D)
    odds_dtype = torch.float64 if dtype is torch.float64 else torch.float32
    kept = x_ND.shape[0] * vectors_DR.shape[1] * dtype.itemsize <= IN_MEMORY
    dtype = dtype if kept else odds_dtype  # steps are rounded, in bfloat16, in coordinates only
    top = min(_TOP, vectors_DR.shape[1], IN_MEMORY // (odds_dtype.itemsize * len(x_ND)))
    spread_DR = (vectors_DR * inverse[:, None]).astype(np.float64 if odds_dtype is torch.float64 else np.float32)
    blocks = []
    for fold, rows_n in _cut(fold_N, targets_NC.shape[1]):
        z_nR = _centred(x_ND[rows_n], mean, spread_DR.dtype) @ (spread_DR if kept else spread_DR[:, :top])
        target_Cn = np.ascontiguousarray(targets_NC[rows_n].T)
        blocks.append(
            Block(
                rows_n=rows_n,
                fold=fold,
                weight_n=torch.from_numpy(weights_N[rows_n]).to(odds_dtype),
                target_Cn=torch.from_numpy(target_Cn).to(odds_dtype),
                top_nT=torch.from_numpy(np.ascontiguousarray(z_nR[:, :top])),
                z_nR=torch.from_numpy(z_nR).to(dtype) if kept else None,
            )
        )
    nobody = torch.zeros(0)
    rows = Rows(
        x_ND=x_ND,
        blocks=tuple(blocks),
        held=(),
        kind=kind,
        mean_D=torch.from_numpy(mean),
        inverse_D=torch.from_numpy(inverse),
        vectors_DR=torch.from_numpy(vectors_DR),
        value_P=torch.from_numpy(np.append(value_R, 1.0)).to(odds_dtype),
        top=top,
        dtype=dtype,
        odds_dtype=odds_dtype,
        survey_dtype=odds_dtype,
        total_K=nobody,
        count_K=nobody,
        share_KC=nobody,
        live_KC=nobody,
    )
    return with_problems(rows, tuple(range(int(fold_N.max()) + 1)))


def with_problems(rows: Rows, held: tuple[int, ...]) -> Rows:
    """The same examples, with one problem for every entry of `held`."""
    k, c = len(held), len(rows.blocks[0].target_Cn)
    total_K, count_K = torch.zeros(k, dtype=torch.float64), torch.zeros(k, dtype=torch.float64)
    sum_KC, positive_KC = torch.zeros(k, c, dtype=torch.float64), torch.zeros(k, c, dtype=torch.float64)
    for block in rows.blocks:
        on = [i for i, fold in enumerate(held) if fold != block.fold]
        weight_n, target_Cn = block.weight_n.double(), block.target_Cn.double()
        total_K[on] += weight_n.sum()
        count_K[on] += (weight_n > 0).sum()
        sum_KC[on] += target_Cn @ weight_n
        positive_KC[on] += (target_Cn * (weight_n > 0)).sum(1)
    live_KC = positive_KC > 0
    if rows.kind == "multi-label":
        live_KC &= positive_KC < count_K[:, None]
    total_K[total_K == 0] = 1.0
    return replace(
        rows, held=held, total_K=total_K, count_K=count_K, share_KC=sum_KC / total_K[:, None], live_KC=live_KC
    )


def learners(rows: Rows, block: Block) -> list[int]:
    """The problems that learn from a block."""
    return [k for k, fold in enumerate(rows.held) if fold != block.fold]


def features(rows: Rows, block: Block, dtype: torch.dtype, every: int = 1) -> Tensor:
    """The features of a block as given, less their mean; of every so many-th example."""
    numpy_dtype = np.dtype("f8" if dtype is torch.float64 else "f4")
    return torch.from_numpy(_centred(rows.x_ND[block.rows_n[::every]], rows.mean_D.numpy(), numpy_dtype))


def inwards(rows: Rows, slope_KCP: Tensor) -> Tensor:
    """Slopes along the basis, on features as given: (K, C, D + 1)."""
    spread_RD = (rows.vectors_DR * rows.inverse_D[:, None]).T.to(slope_KCP.dtype)
    return torch.cat([slope_KCP[..., :-1] @ spread_RD, slope_KCP[..., -1:]], dim=-1)


def outwards(rows: Rows, product_KCE: Tensor) -> Tensor:
    """Products with the features as given and 1, in the terms of the basis."""
    spread_DR = (rows.vectors_DR * rows.inverse_D[:, None]).to(product_KCE.dtype)
    return torch.cat([product_KCE[..., :-1] @ spread_DR, product_KCE[..., -1:]], dim=-1)


def _basis(x_ND: np.ndarray, weights_N: Array, scale_D: np.ndarray | None) -> tuple[Array, Array, Array, Array]:
    """Mean (D,), 1 / scale (D,), directions (D, R) and the variances along them (R,), largest first."""
    n, d = x_ND.shape
    scale = np.asarray(row_deviations_D(x_ND, weights_N) if scale_D is None else scale_D, dtype=np.float64)
    inverse = np.divide(1.0, scale, out=np.zeros(d), where=scale > 0)
    if n < d:
        share_N = weights_N / weights_N.sum()
        mean = share_N @ x_ND.astype(np.float64)
        value_R, vectors_DR = eigenvectors((x_ND - mean) * inverse * np.sqrt(share_N)[:, None])
        return mean, inverse, np.linalg.qr(vectors_DR)[0], value_R  # those of small values are not quite orthogonal
    statistics = moments(x_ND, np.zeros((n, 0)), weights_N)
    values, vectors = np.linalg.eigh(covariance_DD(statistics) * np.outer(inverse, inverse))
    return mean_D(statistics), inverse, vectors[:, ::-1].copy(), np.maximum(values[::-1], 0.0)


def _cut(fold_N: np.ndarray, columns: int) -> Iterator[tuple[int, np.ndarray]]:
    """Folds, and rows of one fold in pieces whose logits of four problems fit into the cache."""
    size = min(max(_CACHE // (4 * columns), 512), _ROWS)
    for fold in range(int(fold_N.max()) + 1):
        of_fold = np.flatnonzero(fold_N == fold)
        for piece in np.array_split(of_fold, -(-len(of_fold) // size)) if len(of_fold) else ():
            yield fold, piece


def _centred(x_nD: np.ndarray, mean: Array, dtype: np.dtype) -> np.ndarray:
    """x - mean, of a copy of x; in float32 only where x is no wider."""
    wide = dtype == np.float64 or x_nD.dtype not in (np.float32, np.float16)
    z_nD = x_nD.astype(np.float64 if wide else np.float32, copy=False)
    return np.subtract(z_nD, mean.astype(z_nD.dtype), out=z_nD).astype(dtype, copy=False)
