"""Areas under curves from ranks, for many weightings of the same examples at once.

Scores are sorted once a class; a resample changes weights, never the order. Equal scores share one threshold.
Letters: N examples, C classes, R resamples, P examples of the class.
"""

from collections.abc import Callable

import numpy as np

Array = np.ndarray


def auc_RC(truth_NC: Array, scores_NC: Array, w_RN: Array) -> Array:
    """Area under the ROC curve (Mann-Whitney, ties count half) of each column; nan without both sides."""
    return _by_column(_auc_R, truth_NC, scores_NC, w_RN)


def average_precision_RC(truth_NC: Array, scores_NC: Array, w_RN: Array) -> Array:
    """Average precision (a step sum, not interpolated) of each column; nan without a positive example."""
    return _by_column(_average_precision_R, truth_NC, scores_NC, w_RN)


def _by_column(
    function: Callable[[Array, Array, Array], Array], truth_NC: Array, scores_NC: Array, w_RN: Array
) -> Array:
    values_RC = np.full((len(w_RN), scores_NC.shape[1]), np.nan)
    for c in range(scores_NC.shape[1]):
        truth_N = truth_NC[:, c] > 0.5
        if truth_N.any() and not np.isnan(scores_NC[:, c]).any():
            values_RC[:, c] = function(truth_N, scores_NC[:, c], w_RN)
    return values_RC


def _auc_R(truth_N: Array, score_N: Array, w_RN: Array) -> Array:
    negative = np.sort(score_N[~truth_N])
    order = np.argsort(score_N[~truth_N], kind="stable")
    below_RN = _cumulated(w_RN[:, ~truth_N][:, order])
    first = np.searchsorted(negative, score_N[truth_N], side="left")
    last = np.searchsorted(negative, score_N[truth_N], side="right")
    w_RP = w_RN[:, truth_N]
    won_R = np.einsum("rp,rp->r", w_RP, below_RN[:, first] + below_RN[:, last]) / 2
    pairs_R = w_RP.sum(1) * below_RN[:, -1]
    return np.divide(won_R, pairs_R, out=np.full(len(w_RN), np.nan), where=pairs_R > 0)


def _average_precision_R(truth_N: Array, score_N: Array, w_RN: Array) -> Array:
    order = np.argsort(-score_N, kind="stable")
    ranked, truth_N, w_RN = -score_N[order], truth_N[order], w_RN[:, order]
    end = np.searchsorted(ranked, ranked[truth_N], side="right")  # all that share the score are taken together
    found_RP = _cumulated(w_RN * truth_N)[:, end]
    taken_RP = _cumulated(w_RN)[:, end]
    w_RP = w_RN[:, truth_N]
    precision_RP = np.divide(found_RP, taken_RP, out=np.zeros_like(found_RP), where=taken_RP > 0)
    total_R = w_RP.sum(1)
    return np.divide(
        np.einsum("rp,rp->r", w_RP, precision_RP), total_R, out=np.full(len(total_R), np.nan), where=total_R > 0
    )


def _cumulated(w_RN: Array) -> Array:
    """Cumulated weights with a zero in front: column i is the weight of the first i."""
    return np.concatenate([np.zeros((len(w_RN), 1)), np.cumsum(w_RN, 1)], 1)
