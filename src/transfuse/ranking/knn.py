"""Nearest neighbours on frozen features: what the source knows without anything being fitted.

Weighted votes as in Wu, Xiong, Yu, Lin, "Unsupervised Feature Learning via Non-Parametric Instance Discrimination",
CVPR 2018, arXiv:1805.01978, section 3.4; how well it orders sources: arXiv:2503.18528. Ours: neighbours are looked for
in the other folds only, so that copies and groups do not vouch for each other; votes are shares, so that labels and
values are answered the same way.
Letters: N examples, D features, C classes, labels or target columns, Q queries, K neighbours.
"""

from typing import Literal

import numpy as np

from transfuse.core.errors import UsageError
from transfuse.core.tables import chosen

_CHUNK = 1024
"""Queries at a time: distances to all others are held for that many."""


def knn(
    x_ND: np.ndarray,
    targets_NC: np.ndarray,
    fold_N: np.ndarray,
    *,
    rows: np.ndarray | None = None,
    k: int = 10,
    metric: Literal["cosine", "euclidean"] = "cosine",
    temperature: float = 0.07,
) -> np.ndarray:
    """Weighted means (Q, C) of the targets of the k nearest examples in other folds; nan where there is none.

    x_ND: finite features, which are standardised over all rows (for the cosine only; it gains 1 to 4 points of accuracy
    on hand signs with six networks).
    targets_NC: one-hot, 0/1 or values. rows: the queries, by default all. temperature: a neighbour's weight is the
    exponential of its similarity over it; the similarity is the cosine, or minus the squared distance.
    Raises `UsageError`.
    """
    chosen("metric of neighbours", metric, ("cosine", "euclidean"))
    if k < 1 or not temperature > 0:
        raise UsageError(f"`k` must be at least 1 and `temperature` above 0, but are {k} and {temperature}.")
    if not len(x_ND) == len(targets_NC) == len(fold_N) or targets_NC.ndim != 2:
        raise UsageError(
            f"`x`, `targets` and `fold` must have one row an example, but have {len(x_ND)}, {targets_NC.shape} and"
            f" {len(fold_N)}."
        )
    z_ND = _comparable(x_ND, metric)
    rows = np.arange(len(x_ND)) if rows is None else np.asarray(rows)
    answers_QC = np.full((len(rows), targets_NC.shape[1]), np.nan)
    for fold in np.unique(fold_N[rows]):
        others = np.flatnonzero(fold_N != fold)
        asked = np.flatnonzero(fold_N[rows] == fold)
        for part in np.split(asked, range(_CHUNK, len(asked), _CHUNK)):
            if len(others):
                near = _similarity(z_ND[rows[part]], z_ND[others], metric)
                answers_QC[part] = _votes(near, targets_NC[others], k, temperature)
    return answers_QC


def _comparable(x_ND: np.ndarray, metric: str) -> np.ndarray:
    """Float32 rows; for cosines standardised, without columns that do not vary, and of length 1 or 0."""
    x_ND = np.asarray(x_ND)
    mean_D = x_ND.mean(axis=0, dtype=np.float64)
    z_ND = np.subtract(x_ND, mean_D).astype(np.float32)
    if metric == "cosine":
        spread_D = z_ND.std(axis=0, dtype=np.float64)
        varies_D = spread_D > 1e-6 * np.abs(mean_D)
        z_ND *= np.where(varies_D, 1.0 / np.where(varies_D, spread_D, 1.0), 0.0).astype(np.float32)
        length_N = np.linalg.norm(z_ND, axis=1, keepdims=True)
        z_ND /= np.where(length_N > 0, length_N, 1.0)
    return z_ND


def _similarity(a_QD: np.ndarray, b_ND: np.ndarray, metric: str) -> np.ndarray:
    """(Q, N), more is nearer."""
    product_QN = a_QD @ b_ND.T
    if metric == "cosine":
        return product_QN
    return 2 * product_QN - (a_QD**2).sum(axis=1)[:, None] - (b_ND**2).sum(axis=1)


def _votes(near_QN: np.ndarray, targets_NC: np.ndarray, k: int, temperature: float) -> np.ndarray:
    k = min(k, near_QN.shape[1])
    best_QK = np.argpartition(-near_QN, k - 1, axis=1)[:, :k]
    value_QK = np.take_along_axis(near_QN, best_QK, axis=1).astype(np.float64)
    weight_QK = np.exp((value_QK - value_QK.max(axis=1, keepdims=True)) / temperature)
    weight_QK /= weight_QK.sum(axis=1, keepdims=True)
    return np.einsum("qk,qkc->qc", weight_QK, targets_NC[best_QK])
