"""Labels that are likely wrong, by answers of a head that was fitted without the example.

Classes: confident learning (Northcutt, Jiang, Chuang, JAIR 2021, arXiv 1911.00068), by cleanlab. The confident joint,
calibrated to the counts of the given labels, says how many labels are wrong, but not more than the head answers
otherwise; the examples whose given label has the lowest probability are named, as many as that, where the head answers
something else. (The paper's own filters find fewer: see benchmarks/label_errors.py.) Several labels: the same for each
class, present against absent.
Numbers: residuals beyond 3.5 robust deviations (Iglewicz and Hoaglin, How to Detect and Handle Outliers, 1993).

Letters: N examples, C classes or target columns, M suspects, R resamples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import erf

from transfuse.core.nouns import Kind
from transfuse.measuring.intervals import wilson

BEYOND = 3.5
"""Robust deviations from the median residual at which a number is suspicious."""
_MAD = 1.4826  # median absolute deviation to standard deviation, for normal residuals
_CELLS, _MOST, _FEWEST = 20_000_000, 200, 50


@dataclass(frozen=True, kw_only=True)
class Suspects:
    """M labels that are likely wrong, most suspicious first, and how many are wrong in all."""

    rows_M: np.ndarray
    """Example of each."""
    columns_M: np.ndarray
    """Class (several labels) or target column (numbers) of each; 0 for one label."""
    scores_M: np.ndarray
    """0..1: probability, by the head, that the given label is wrong; for numbers how rare so large a residual is."""
    share: dict[str, float]
    """Estimated share of wrong labels: `value`, `low`, `high`, `n`. Of several labels n counts each."""

    def __len__(self) -> int:
        return len(self.rows_M)


Found = tuple[np.ndarray, np.ndarray, float]
"""Rows (M,), their scores (M,), the estimated share."""


def suspects(
    kind: Kind, targets: np.ndarray, outputs_NC: np.ndarray, *, groups: Sequence[str] | None = None, seed: int = 0
) -> Suspects:
    """The labels to look at, by out-of-fold probabilities or values.

    targets, outputs_NC: as for metrics. groups: examples of one group are drawn together for the interval.
    """
    columns = _columns(kind, targets, outputs_NC)
    find = _of_numbers if kind == "regression" else _of_classes
    found = [(column, *find(y_N, p_N)) for column, y_N, p_N in columns]
    rows_M = np.concatenate([rows for _, rows, _, _ in found]).astype(np.int64)
    columns_M = np.concatenate([np.full(len(rows), column) for column, rows, _, _ in found]).astype(np.int64)
    scores_M = np.concatenate([scores for _, _, scores, _ in found])
    order = np.lexsort((rows_M, -scores_M))
    return Suspects(
        rows_M=rows_M[order],
        columns_M=columns_M[order],
        scores_M=scores_M[order],
        share=_share(find, columns, float(np.mean([share for *_, share in found])), groups, seed),
    )


def confused(targets: np.ndarray, outputs_NC: np.ndarray) -> np.ndarray:
    """Estimated joint (C, C) of given labels (rows) and true ones (columns), in examples; one label an example."""
    return _joint(targets, outputs_NC) * len(targets)


Column = tuple[int, np.ndarray, np.ndarray]


def _columns(kind: Kind, targets: np.ndarray, outputs_NC: np.ndarray) -> list[Column]:
    """One problem for one label; one a class or target column otherwise."""
    if kind == "single-label":
        return [(0, targets, outputs_NC)]
    if kind == "regression":
        return [(c, targets[:, c].astype(float), outputs_NC[:, c]) for c in range(outputs_NC.shape[1])]
    labels_NC = targets.astype(np.int64)
    return [
        (c, labels_NC[:, c], np.stack([1 - outputs_NC[:, c], outputs_NC[:, c]], axis=1))
        for c in range(outputs_NC.shape[1])
    ]


def _joint(y_N: np.ndarray, p_NC: np.ndarray) -> np.ndarray:
    from cleanlab.count import estimate_joint  # takes half a second to import

    return np.nan_to_num(np.asarray(estimate_joint(y_N, p_NC), dtype=float))


def _of_classes(y_N: np.ndarray, p_NC: np.ndarray) -> Found:
    present = np.unique(y_N)
    if len(present) < 2:
        return np.zeros(0, np.int64), np.zeros(0), 0.0
    joint_CC = _joint(y_N, p_NC)
    # where a class is rare its threshold is so low that examples of the others pass it: a label that the head itself
    # would give is not counted as wrong
    doubted = float((p_NC.argmax(axis=1) != y_N).mean())
    share = float(np.clip(joint_CC.sum() - np.trace(joint_CC), 0.0, doubted))
    confidence_N = p_NC[np.arange(len(y_N)), y_N]
    first = np.argsort(confidence_N, kind="stable")[: round(share * len(y_N))]
    rows = first[p_NC[first].argmax(axis=1) != y_N[first]]
    return rows, 1 - confidence_N[rows], share


def _of_numbers(y_N: np.ndarray, values_N: np.ndarray) -> Found:
    residuals_N = y_N - values_N
    away_N = np.abs(residuals_N - np.median(residuals_N))
    scale = _MAD * float(np.median(away_N))
    if scale <= 1e-12 * max(float(np.abs(y_N).max(initial=0.0)), 1e-300):  # more than half are met exactly
        return np.zeros(0, np.int64), np.zeros(0), 0.0
    rows = np.flatnonzero(away_N > BEYOND * scale)
    return rows, erf(away_N[rows] / scale / np.sqrt(2)), len(rows) / len(y_N)


def _share(
    find: Callable[[np.ndarray, np.ndarray], Found],
    columns: Sequence[Column],
    value: float,
    groups: Sequence[str] | None,
    seed: int,
) -> dict[str, float]:
    """The estimated share with its percentile bootstrap; Wilson's interval where nothing is found."""
    count = len(columns[0][1])
    cells = sum(p_N.size for _, _, p_N in columns)
    resamples = int(np.clip(_CELLS // max(cells, 1), _FEWEST, _MOST))
    units_N = np.arange(count) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    order, starts = np.argsort(units_N, kind="stable"), np.cumsum(np.bincount(units_N))[:-1]
    members = np.split(order, starts)
    generator = np.random.default_rng(seed)
    drawn = []
    for _ in range(resamples):
        rows = np.concatenate([members[unit] for unit in generator.integers(0, len(members), len(members))])
        drawn.append(np.mean([find(y_N[rows], p_N[rows])[2] for _, y_N, p_N in columns]))
    low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
    if low == high == 0.0:
        high = wilson(0.0, len(members))[1]
    return {"value": value, "low": min(low, value), "high": max(high, value), "n": count * len(columns)}
