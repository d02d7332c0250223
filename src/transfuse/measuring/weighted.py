"""Metrics as functions of example weights, so that one definition gives the value and every resample of it.

A bootstrap resample is nothing but integer weights on the same examples: with weights of one a metric has its
value, with R rows of counts it gives R resampled values at once, without copying an example.

Each metric is a pair: `evidence(targets, outputs) -> (N, K)` keeps what the metric needs of every example, and
`value(evidence, w_RN) -> (R,)` adds it up. Where a metric is undefined (one class only, no examples) it is nan.

Letters: N examples, C classes or target columns, K numbers kept of an example, R resamples, B bins.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from transfuse.measuring.ranks import auc_RC, average_precision_RC

Array = np.ndarray
BINS = 10


@dataclass(frozen=True, kw_only=True)
class Metric:
    """How one metric is computed, and how its interval may be found."""

    evidence: Callable[[Array, Array], Array]
    """(targets, outputs) -> (N, K) float64."""
    value: Callable[[Array, Array], Array]
    """((N, K) evidence, (R, N) weights) -> (R,)."""
    higher: bool = True
    """True when more is better."""
    discrete: bool = False
    """True when evidence takes few values, so that equal examples can be counted together."""
    share: bool = False
    """True for a plain share of examples, each right (1) or wrong (0)."""


def answers(outputs_NC: Array) -> Array:
    """The likeliest class of each example; -1 where an output is not a number, which is never right."""
    if outputs_NC.shape[1] == 0:
        return np.full(len(outputs_NC), -1)
    return np.where(np.isnan(outputs_NC).any(1), -1, np.nan_to_num(outputs_NC, nan=-np.inf).argmax(1))


def divided(above: Array, below: Array) -> Array:
    """Quotient with nan, and no warning, where the divisor is zero."""
    above, below = np.broadcast_arrays(np.asarray(above, float), np.asarray(below, float))
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below != 0)


def mean_known(values_RC: Array) -> Array:
    """Mean over the columns that are defined; nan, and no warning, where none is."""
    known = ~np.isnan(values_RC)
    return divided(np.where(known, values_RC, 0.0).sum(-1), known.sum(-1))


def mean_RK(evidence_NK: Array, w_RN: Array) -> Array:
    """Weighted means of the evidence."""
    return divided(w_RN @ evidence_NK, w_RN.sum(1)[:, None])


def mean(evidence_NK: Array, w_RN: Array) -> Array:
    """Weighted mean of the first number kept."""
    return mean_RK(evidence_NK, w_RN)[:, 0]


# Single label: targets (N,) of 0..C-1, outputs (N, C) probabilities.


def right(targets: Array, outputs: Array) -> Array:
    """1 where the answer is the target."""
    return (answers(outputs) == targets)[:, None].astype(float)


def pairs(targets: Array, outputs: Array) -> Array:
    """Target and answer."""
    return np.stack([targets, answers(outputs)], 1).astype(float)


def tally_RCC(pairs_N2: Array, w_RN: Array) -> Array:
    """Weighted confusion counts (R, C, C+1): rows are targets, columns answers, the last one 'no answer'."""
    truth, answer = pairs_N2.astype(int).T
    classes = int(pairs_N2.max(initial=0)) + 1
    cells, cell_of = np.unique(truth * (classes + 1) + np.where(answer < 0, classes, answer), return_inverse=True)
    member_NK = np.zeros((len(truth), len(cells)))
    member_NK[np.arange(len(truth)), cell_of] = 1.0
    counts = np.zeros((len(w_RN), classes * (classes + 1)))
    counts[:, cells] = w_RN @ member_NK
    return counts.reshape(-1, classes, classes + 1)


def balanced(pairs_N2: Array, w_RN: Array) -> Array:
    """Mean recall over the classes that occur in the targets."""
    counts = tally_RCC(pairs_N2, w_RN)
    return mean_known(divided(np.diagonal(counts, axis1=1, axis2=2), counts.sum(2)))


def f1_tally(pairs_N2: Array, w_RN: Array) -> Array:
    """Mean F1 over the classes that occur in the targets or in the answers."""
    counts = tally_RCC(pairs_N2, w_RN)
    hits = np.diagonal(counts, axis1=1, axis2=2)
    return mean_known(divided(2 * hits, counts.sum(2) + counts[:, :, :-1].sum(1)))


def one_hot(targets: Array, outputs: Array) -> Array:
    """Targets as 0/1 (C columns), then the outputs (C columns)."""
    return np.concatenate([targets[:, None] == np.arange(outputs.shape[1]), outputs], 1).astype(float)


def surprise(targets: Array, outputs: Array) -> Array:
    """Minus the logarithm (natural) of the probability given to the target."""
    given = outputs[np.arange(len(targets)), targets].astype(float)
    return -np.log(np.maximum(given, np.finfo(outputs.dtype).eps))[:, None]


def top_gaps(targets: Array, outputs: Array) -> Array:
    """Confidence minus rightness of each example, in the column of its confidence bin."""
    if not outputs.size:
        return np.zeros((len(outputs), BINS))
    return binned(outputs.max(1)[:, None], right(targets, outputs))


# Multi label: targets (N, C) of 0/1, outputs (N, C) probabilities; regression: both (N, C) values.


def label_right(targets: Array, outputs: Array) -> Array:
    """Share of labels answered right, at a threshold of 0.5."""
    return ((outputs > 0.5) == (targets > 0.5)).mean(1, keepdims=True)


def all_right(targets: Array, outputs: Array) -> Array:
    """1 where every label is right."""
    return ((outputs > 0.5) == (targets > 0.5)).all(1)[:, None].astype(float)


def beside(targets: Array, outputs: Array) -> Array:
    """Targets (C columns), then outputs (C columns)."""
    return np.concatenate([targets, outputs], 1).astype(float)


def f1_labels(evidence: Array, w_RN: Array) -> Array:
    """Mean F1 over the labels that occur in the targets or in the answers, at a threshold of 0.5."""
    truth, answer = np.split(evidence > 0.5, 2, axis=1)
    return mean_known(divided(2 * (w_RN @ (truth & answer)), w_RN @ truth + w_RN @ answer))


def label_surprise(targets: Array, outputs: Array) -> Array:
    """Binary cross-entropy (natural logarithm), mean over labels."""
    eps = np.finfo(outputs.dtype).eps
    p = np.clip(outputs.astype(float), eps, 1 - eps)
    return -(targets * np.log(p) + (1 - targets) * np.log1p(-p)).mean(1, keepdims=True)


def label_gaps(targets: Array, outputs: Array) -> Array:
    """Probability minus target, in the column of its probability bin, mean over labels."""
    return binned(outputs, targets)


def auc(evidence: Array, w_RN: Array) -> Array:
    """Mean over classes of the area under the ROC curve, each class against the rest."""
    truth, scores = np.split(evidence, 2, axis=1)
    return _all_known(scores, mean_known(auc_RC(truth, scores, w_RN)))


def average_precision(evidence: Array, w_RN: Array) -> Array:
    """Mean over labels of the average precision."""
    truth, scores = np.split(evidence, 2, axis=1)
    return _all_known(scores, mean_known(average_precision_RC(truth, scores, w_RN)))


def _all_known(scores_NC: Array, values_R: Array) -> Array:
    """Values, or nan when a score is not a number: leaving its class out would flatter the model."""
    return np.full_like(values_R, np.nan) if np.isnan(scores_NC).any() else values_R


def errors(targets: Array, outputs: Array) -> Array:
    """Absolute errors, mean over columns."""
    return np.abs(outputs.astype(float) - targets).mean(1, keepdims=True)


def squares(targets: Array, outputs: Array) -> Array:
    """Squared errors of each column."""
    return np.square(outputs.astype(float) - targets)


def root(evidence: Array, w_RN: Array) -> Array:
    """Root mean squared error of each column, then the mean over columns."""
    return np.sqrt(mean_RK(evidence, w_RN)).mean(1)


def moments(targets: Array, outputs: Array) -> Array:
    """Squared errors, then centred targets, then their squares (C columns each)."""
    centred = targets.astype(float) - (targets.mean(0) if len(targets) else 0.0)
    return np.concatenate([squares(targets, outputs), centred, np.square(centred)], 1)


def r2(evidence: Array, w_RN: Array) -> Array:
    """Share of the targets' variance that is explained, mean over columns that vary."""
    unexplained, first, second = np.split(mean_RK(evidence, w_RN), 3, axis=1)
    variance = second - np.square(first)
    return mean_known(1 - divided(unexplained, np.where(variance > 1e-12, variance, 0.0)))


# Calibration.


def bin_of(p: Array, bins: int = BINS) -> Array:
    """Index of the equally wide bin of 0..1; 1 belongs to the last one."""
    return np.clip((np.nan_to_num(p) * bins).astype(int), 0, bins - 1)


def binned(p_NC: Array, truth_NC: Array) -> Array:
    """(N, B): p - truth added into the column of p's bin, divided by the number of columns of p."""
    gaps = np.zeros((len(p_NC), BINS))
    rows = np.broadcast_to(np.arange(len(p_NC))[:, None], p_NC.shape)
    np.add.at(gaps, (rows, bin_of(p_NC)), (p_NC.astype(float) - truth_NC) / max(p_NC.shape[1], 1))
    return gaps


def calibration(evidence_NB: Array, w_RN: Array) -> Array:
    """Expected calibration error: |confidence - rightness| of each bin, weighted by the bin's share."""
    return np.abs(mean_RK(evidence_NB, w_RN)).sum(1)


METRICS: dict[str, dict[str, Metric]] = {
    "single-label": {
        "accuracy": Metric(evidence=right, value=mean, discrete=True, share=True),
        "balanced_accuracy": Metric(evidence=pairs, value=balanced, discrete=True),
        "f1": Metric(evidence=pairs, value=f1_tally, discrete=True),
        "auc": Metric(evidence=one_hot, value=auc),
        "log_loss": Metric(evidence=surprise, value=mean, higher=False),
        "calibration_error": Metric(evidence=top_gaps, value=calibration, higher=False),
    },
    "multi-label": {
        "accuracy": Metric(evidence=label_right, value=mean, discrete=True),
        "exact_match": Metric(evidence=all_right, value=mean, discrete=True, share=True),
        "f1": Metric(evidence=beside, value=f1_labels),
        "auc": Metric(evidence=beside, value=auc),
        "average_precision": Metric(evidence=beside, value=average_precision),
        "log_loss": Metric(evidence=label_surprise, value=mean, higher=False),
        "calibration_error": Metric(evidence=label_gaps, value=calibration, higher=False),
    },
    "regression": {
        "r2": Metric(evidence=moments, value=r2),
        "mae": Metric(evidence=errors, value=mean, higher=False),
        "rmse": Metric(evidence=squares, value=root, higher=False),
    },
}
