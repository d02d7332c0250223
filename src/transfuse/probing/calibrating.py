"""Calibration by a temperature: p = softmax(z / T), or sigmoid(z / T) for multi-label.

Guo, Pleiss, Sun, Weinberger: "On Calibration of Modern Neural Networks", 2017, arXiv:1706.04599.
Ours: Newton on the inverse temperature, in which the negative log-likelihood is convex, and an answer where it has
no minimiser. Letters: N examples, C classes or labels; M problems of K classes: N of C, or N·C of 2 for multi-label.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Kind

Array = NDArray[np.float64]

_SOFTEST = 1e-3
_SHARPEST = 1e6
"""Bounds of the inverse temperature, in units of one over the spread of the logits."""


def temperature(logits_NC: np.ndarray, y: np.ndarray, kind: Kind, weights: np.ndarray | None = None) -> float:
    """The temperature that minimises the negative log-likelihood; 1 for regression and when the logits say nothing.

    Where every example is right, sharper is always better and no minimiser exists: then the temperature is the one
    at which the mean negative log-likelihood is log((N + 2) / (N + 1)), which is Laplace's rule of succession.
    Where the logits mislead, it is the softest allowed: 1000 times their spread.

    Args:
        logits_NC: Logits, best from examples that the head was not fitted on.
        y: Class indices (N,), or 0/1 (N, C) for multi-label.
        kind: Kind of the task.
        weights: Per example (N,), or per example and label (N, C) for multi-label; None for equal ones.
    """
    if kind == "regression":
        return 1.0
    z_NC = np.asarray(logits_NC, dtype=np.float64)
    z_KM, w_M = _differences(z_NC, np.asarray(y), kind, weights)
    kept = w_M > 0
    z_KM, w_M = z_KM[:, kept], w_M[kept] / max(float(w_M.sum()), 1e-300)
    spread = float(np.sqrt(np.mean(z_KM**2))) if z_KM.size else 0.0
    if not np.isfinite(spread):
        raise UsageError("`logits` must be finite numbers, but some are NaN or infinite: refit the head without them.")
    if spread == 0:
        return 1.0
    return spread / _sharpness(z_KM / spread, w_M)


def log_losses(logits_NC: np.ndarray, y: np.ndarray, kind: Kind) -> Array:
    """Negative log-likelihood at temperature 1: (N,) for single-label, (N, C) for multi-label."""
    z_NC = np.asarray(logits_NC, dtype=np.float64)
    if kind == "multi-label":
        return np.logaddexp(0.0, np.where(np.asarray(y) > 0, -z_NC, z_NC))
    return _log_sum_exp(_differences(z_NC, np.asarray(y), kind, None)[0])[0]


def _differences(z_NC: Array, y: np.ndarray, kind: Kind, weights: np.ndarray | None) -> tuple[Array, Array]:
    """Logits less the true one's, (K, M), with the weights (M,): multi-label is N·C problems of two classes.

    Classes lead, because numpy reduces over a leading axis several times faster.
    """
    if kind == "multi-label":
        against = np.where(y > 0, -z_NC, z_NC).reshape(1, -1)
        z_KM = np.concatenate([against, np.zeros_like(against)])
    else:
        z_KM = np.ascontiguousarray(z_NC.T) - z_NC[np.arange(len(z_NC)), y]
    if weights is None:
        return z_KM, np.ones(z_KM.shape[1])
    shape = z_NC.shape if kind == "multi-label" else (len(z_NC),)
    given = np.asarray(weights, dtype=np.float64)
    return z_KM, np.broadcast_to(given[:, None] if given.ndim < len(shape) else given, shape).reshape(-1)


def _sharpness(z_KM: Array, w_M: Array) -> float:
    """Inverse temperature for differences of unit spread."""
    if z_KM.max() <= 0:
        target = np.log1p(1.0 / (z_KM.shape[1] + 1.0))
        return _root(lambda b: _shortfall(z_KM, w_M, b, target), _SOFTEST, _SHARPEST)
    return _root(lambda b: _slope(z_KM, w_M, b), _SOFTEST, _SHARPEST)


def _shortfall(z_KM: Array, w_M: Array, b: float, target: float) -> tuple[float, float]:
    """By how much the mean loss at inverse temperature b is below the target, and the derivative (>= 0)."""
    loss_M, p_KM = _log_sum_exp(b * z_KM)
    return target - float(w_M @ loss_M), -float(np.einsum("km,km,m->", p_KM, z_KM, w_M))


def _slope(z_KM: Array, w_M: Array, b: float) -> tuple[float, float]:
    """First and second derivative of the mean loss in the inverse temperature b."""
    _, p_KM = _log_sum_exp(b * z_KM)
    p_KM *= z_KM
    first_M = p_KM.sum(axis=0)
    p_KM *= z_KM
    return float(w_M @ first_M), float(w_M @ (p_KM.sum(axis=0) - first_M**2))


def _root(function: Callable[[float], tuple[float, float]], low: float, high: float) -> float:
    """Root of an increasing function that also gives its derivative: Newton, halved when it leaves the bracket."""
    if function(low)[0] >= 0:
        return low
    at = 1.0
    for _ in range(100):
        value, derivative = function(at)
        low, high = (at, high) if value < 0 else (low, at)
        with np.errstate(over="ignore"):  # a flat place: the step leaves the bracket
            step = at - value / derivative if derivative > 0 else np.inf
        step = step if low < step < high else float(np.sqrt(low * high))
        if abs(step - at) <= 1e-12 * at:
            return step
        at = step
    return at


def _log_sum_exp(z_KM: Array) -> tuple[Array, Array]:
    """The logarithm of the sum of exponentials (M,), and the softmax (K, M)."""
    top_M = z_KM.max(axis=0)
    p_KM = np.exp(z_KM - top_M)
    total_M = p_KM.sum(axis=0)
    p_KM /= total_M
    return top_M + np.log(total_M), p_KM
