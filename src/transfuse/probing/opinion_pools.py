"""How much each of several experts is believed: weights of their logits, learnt from answers out of fold.

A logarithmic opinion pool, or product of experts with weights: p(c) ~ prod of p_i(c)^w_i (T. Heskes, "Selecting
weighting factors in logarithmic opinion pools", NIPS 1997; G. Hinton, Neural Computation 14(8), 2002). The logits are
those of heads that were fitted without the example, so an expert that only remembers is not believed. Weights are not
negative; for regression they are those of stacking (L. Breiman, "Stacked regressions", Machine Learning 24, 1996).
Letters: N examples, C classes or target columns, k experts.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import optimize

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Kind
from transfuse.probing.calibrating import log_losses

Array = NDArray[np.float64]
_SHRINK = 1e-3  # of a weight's square, so that equal experts share


def pool_weights(logits: Sequence[np.ndarray], y: np.ndarray, kind: Kind, weights_N: np.ndarray | None = None) -> Array:
    """One weight an expert, not negative: those of the lowest log-loss of the pooled logits (or squared error).

    logits: (N, C) of each expert, out of fold; values for regression, of which the mean target has been taken off.
    """
    if not logits or any(z_NC.shape != logits[0].shape for z_NC in logits):
        raise UsageError("`logits` must be of at least one expert, all of one shape, but are not.")
    z_kNC = np.stack([np.asarray(z_NC, np.float64) for z_NC in logits])
    sure_N = np.ones(len(y)) if weights_N is None else np.asarray(weights_N, np.float64)
    if kind == "regression":
        root_N = np.sqrt(sure_N)
        targets = (y - y.mean(0)).reshape(len(y), -1) * root_N[:, None]
        columns_Mk = (z_kNC * root_N[:, None]).reshape(len(z_kNC), -1).T
        return np.asarray(optimize.nnls(columns_Mk, targets.ravel())[0])

    scale_k = 1 / np.maximum(z_kNC.std(axis=(1, 2)), 1e-12)  # so that steps are alike for experts of other units

    def loss(v_k: Array) -> float:
        losses = log_losses(np.tensordot(v_k * scale_k, z_kNC, 1), y, kind).reshape(len(y), -1)
        return float((losses.sum(1) * sure_N).sum() / sure_N.sum() + _SHRINK * (v_k**2).sum())

    bounds = [(0.0, None)] * len(z_kNC)
    found = optimize.minimize(loss, np.ones(len(z_kNC)), bounds=bounds, method="L-BFGS-B")
    return np.asarray(found.x) * scale_k
