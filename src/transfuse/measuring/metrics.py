"""Metrics of probabilities or values against targets: arrays in, numbers out.

Letters: N examples, C classes or target columns. Targets are (N,) class indices for `single-label`, (N, C) of 0/1
for `multi-label`, (N, C) values for `regression`; outputs are (N, C) probabilities, or values for regression.
Averages over classes leave out classes on which the metric is undefined; a metric that is undefined on the data
(one class only, no examples) is nan.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from transfuse.core.errors import UsageError
from transfuse.core.tables import chosen, unknown
from transfuse.measuring.ranks import auc_RC
from transfuse.measuring.weighted import BINS, METRICS, Metric, answers, bin_of, divided

Array = np.ndarray

PRIMARY = {"single-label": "accuracy", "multi-label": "average_precision", "regression": "rmse"}
"""By which metric models are chosen. For multi-label data average precision: it needs no threshold (F1 at 0.5 punishes
a model for its calibration, which is repaired afterwards) and, unlike accuracy per label, does not reward 'never'."""


def metric(kind: str, name: str) -> Metric:
    """The metric called `name` for tasks of `kind`; raises `UnknownName`."""
    table = METRICS[chosen("kind of task", kind, METRICS)]
    return table[chosen(f"metric for {kind} tasks", name, table)]


def higher_is_better(name: str) -> bool:
    """Whether more of the metric is better; raises `UnknownName`."""
    for table in METRICS.values():
        if name in table:
            return table[name].higher
    raise unknown("metric", name, {name for table in METRICS.values() for name in table})


def measure(kind: str, targets: Array, outputs: Array) -> dict[str, float]:
    """Every metric of the kind. Raises `UsageError` when shapes do not fit."""
    targets, outputs = fitting(kind, targets, outputs)
    w_1N = np.ones((1, len(outputs)))
    return {name: float(m.value(m.evidence(targets, outputs), w_1N)[0]) for name, m in METRICS[kind].items()}


def fitting(kind: str, targets: Any, outputs: Any) -> tuple[Array, Array]:
    """Targets and outputs as arrays of the shapes that the kind asks for; raises `UsageError`."""
    chosen("kind of task", kind, METRICS)
    targets, outputs = np.asarray(targets), np.asarray(outputs)
    outputs = outputs if np.issubdtype(outputs.dtype, np.floating) else outputs.astype(float)
    wanted = outputs.shape[:1] if kind == "single-label" else outputs.shape
    if outputs.ndim != 2 or targets.shape != wanted:
        shape = "(N,)" if kind == "single-label" else "(N, C)"
        raise UsageError(
            f"For {kind} tasks targets must be {shape} and outputs (N, C), but they are {targets.shape} "
            f"and {outputs.shape}. Give one row of outputs for every target."
        )
    if kind == "single-label" and targets.size and (targets.min() < 0 or targets.max() >= outputs.shape[1]):
        raise UsageError(
            f"Targets must be class indices in 0..{outputs.shape[1] - 1} (there are {outputs.shape[1]} columns of "
            f"outputs), but range over {targets.min()}..{targets.max()}."
        )
    return (targets.astype(int) if kind == "single-label" else targets.astype(float)), outputs


def confusion(targets: Array, outputs: Array, classes: int) -> Array:
    """(C, C) int64 counts: rows are targets, columns answers. Examples without an answer (nan) are left out."""
    targets, outputs = fitting("single-label", targets, outputs)
    answer = answers(outputs)
    given = answer >= 0
    return np.bincount(targets[given] * classes + answer[given], minlength=classes**2).reshape(classes, classes)


def per_class(kind: str, targets: Array, outputs: Array, classes: Sequence[str]) -> list[dict[str, Any]]:
    """One row a class: class, n (examples that have it), precision, recall, f1, auc; nan where undefined.

    For regression one row a target column: class, n, r2, mae, rmse.
    """
    targets, outputs = fitting(kind, targets, outputs)
    if kind == "regression":
        columns = (measure(kind, targets[:, [c]], outputs[:, [c]]) for c in range(outputs.shape[1]))
        return [{"class": name, "n": len(outputs), **row} for name, row in zip(classes, columns, strict=True)]
    choices = np.arange(len(classes))
    single = kind == "single-label"
    truth = targets[:, None] == choices if single else targets > 0.5
    answer = answers(outputs)[:, None] == choices if single else outputs > 0.5
    hits, n, taken = (truth & answer).sum(0), truth.sum(0), answer.sum(0)
    table = {
        "precision": divided(hits, taken),
        "recall": divided(hits, n),
        "f1": divided(2 * hits, n + taken),
        "auc": auc_RC(truth, outputs, np.ones((1, len(outputs))))[0],
    }
    return [
        {"class": name, "n": int(n[c]), **{key: float(values[c]) for key, values in table.items()}}
        for c, name in enumerate(classes)
    ]


def reliability(kind: str, targets: Array, outputs: Array, bins: int = BINS) -> list[dict[str, float]]:
    """One row a bin of equal width that is not empty: mean confidence, accuracy, n.

    Single-label: confidence is the probability of the answer. Multi-label: every label counts, accuracy is the share
    of labels that are present. With the default bins their weighted gaps add up to `calibration_error`.
    (Guo, Pleiss, Sun, Weinberger, 'On Calibration of Modern Neural Networks', arXiv 1706.04599.)
    """
    targets, outputs = fitting(kind, targets, outputs)
    if kind == "regression":
        raise UsageError("Reliability is a property of probabilities: `kind` must not be 'regression'.")
    single = kind == "single-label"
    p = outputs.max(1) if single and outputs.size else outputs.ravel()
    truth = (answers(outputs) == targets) if single else targets.ravel()
    known = ~np.isnan(p)
    where, p, truth = bin_of(p[known], bins), p[known].astype(float), np.asarray(truth, float)[known]
    rows = []
    for b in np.unique(where):
        inside = where == b
        rows.append(
            {"confidence": float(p[inside].mean()), "accuracy": float(truth[inside].mean()), "n": int(inside.sum())}
        )
    return rows
