"""Calibration by a temperature, p = softmax(z / T), or by a scale and a bias a class, p = softmax(a z + b).

Guo, Pleiss, Sun, Weinberger: "On Calibration of Modern Neural Networks", 2017, arXiv:1706.04599 (temperature and vector
scaling; a sigmoid in place of the softmax for multi-label, where the second is Platt's scaling of every label). Ours:
- Newton on the inverse temperature, in which the negative log-likelihood is convex, and an answer where it has no
  minimiser.
- Vector scaling shrinks towards the temperature by a normal prior (standard deviation 1 of every bias and of every
  scale, relative to 1/T), which a few hundred examples outweigh; so it has a unique answer for any data. Rows of logits
  are centred first: the softmax does not see what all classes share, the scales would.
- Which of the two: by log-loss on folds that the calibration has not seen, the temperature when within noise.
Letters: N examples, C classes or labels; M problems of K classes: N of C, or N·C of 2 for multi-label; P = 2C.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Kind

Array = NDArray[np.float64]

_SOFTEST = 1e-3
_SHARPEST = 1e6
"""Bounds of the inverse temperature, in units of one over the spread of the logits."""
_CELLS = 1 << 20
"""Logits of a block."""
_PRIOR = 1.0
"""One over the prior's variance, see above."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How logits become those whose softmax (or sigmoid) are probabilities: see `calibrated`."""

    kind: Kind
    method: Literal["temperature", "vector"]
    scale_C: Array
    bias_C: Array
    log_losses: Mapping[str, float]
    """Mean negative log-likelihood of each method on folds that it was not fitted on."""
    gain: Mapping[str, float]
    """What vector scaling has over the temperature there: `{"value", "low", "high", "n"}`, at 95 %."""


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


def vector_scaling(
    logits_NC: np.ndarray, y: np.ndarray, kind: Kind, weights: np.ndarray | None = None
) -> tuple[Array, Array]:
    """Scales and biases (C,) of the highest posterior; arguments as in `temperature`; ones and zeros for regression.

    They belong to centred logits: see `calibrated`. A weight of 2 counts like an example that occurs twice.
    """
    z_NC = np.asarray(logits_NC, dtype=np.float64)
    start = temperature(z_NC, y, kind, weights)
    if kind == "regression":
        return np.ones(z_NC.shape[1]), np.zeros(z_NC.shape[1])
    targets_NC = np.asarray(y) if kind == "multi-label" else np.arange(z_NC.shape[1]) == np.asarray(y)[:, None]
    given = np.ones(1) if weights is None else np.asarray(weights, dtype=np.float64)
    w_NC = np.broadcast_to(given[:, None] if given.ndim == 1 else given, z_NC.shape)
    scale_C, bias_C = _newton(_centred(z_NC, kind) / start, targets_NC.astype(np.float64), w_NC, kind)
    return scale_C / start, bias_C


def calibrated(calibration: Calibration, logits_NC: np.ndarray) -> Array:
    """Logits whose softmax (or sigmoid) are calibrated; for single-label without what all classes of a row share."""
    z_NC = _centred(np.asarray(logits_NC, dtype=np.float64), calibration.kind)
    return z_NC * calibration.scale_C + calibration.bias_C


def calibrate(
    logits_NC: np.ndarray, y: np.ndarray, kind: Kind, fold_N: np.ndarray, weights: np.ndarray | None = None
) -> Calibration:
    """A temperature, or vector scaling where that is better on held-out folds by more than noise; fitted to all rows.

    Args:
        logits_NC: Logits of examples that the head was not fitted on.
        y: As in `temperature`, as are `kind` and `weights`.
        fold_N: The fold of every example; with a single one the temperature is taken unjudged.
    """
    z_NC, y, fold_N = np.asarray(logits_NC, dtype=np.float64), np.asarray(y), np.asarray(fold_N)
    w_NC = np.ones(z_NC.shape if kind == "multi-label" else len(z_NC))
    if weights is not None:
        given = np.asarray(weights, dtype=np.float64)
        w_NC = w_NC * (given[:, None] if given.ndim < w_NC.ndim else given)
    losses = {method: np.full(w_NC.shape, np.nan) for method in ("temperature", "vector")}
    for fold in np.unique(fold_N) if kind != "regression" else ():
        held = fold_N == fold
        if held.all():
            continue
        for method, losses_NC in losses.items():
            one = _fitted(method, z_NC[~held], y[~held], kind, w_NC[~held])
            losses_NC[held] = log_losses(calibrated(one, z_NC[held]), y[held], kind)
    means, gain = _compared(losses["temperature"], losses["vector"], w_NC)
    chosen = _fitted("vector" if gain["low"] > 0 else "temperature", z_NC, y, kind, w_NC)
    return replace(chosen, log_losses=means, gain=gain)


def log_losses(logits_NC: np.ndarray, y: np.ndarray, kind: Kind) -> Array:
    """Negative log-likelihood at temperature 1: (N,) for single-label, (N, C) for multi-label."""
    z_NC = np.asarray(logits_NC, dtype=np.float64)
    if kind == "multi-label":
        return np.logaddexp(0.0, np.where(np.asarray(y) > 0, -z_NC, z_NC))
    return _log_sum_exp(_differences(z_NC, np.asarray(y), kind, None)[0])[0]


def _fitted(method: str, z_NC: Array, y: np.ndarray, kind: Kind, weights: Array) -> Calibration:
    c = z_NC.shape[1]
    if method == "vector":
        scale_C, bias_C = vector_scaling(z_NC, y, kind, weights)
        return Calibration(kind=kind, method="vector", scale_C=scale_C, bias_C=bias_C, log_losses={}, gain={})
    scale_C = np.full(c, 1.0 / temperature(z_NC, y, kind, weights))
    return Calibration(kind=kind, method="temperature", scale_C=scale_C, bias_C=np.zeros(c), log_losses={}, gain={})


def _compared(one: Array, other: Array, weights: Array) -> tuple[dict[str, float], dict[str, float]]:
    """Mean losses, and the mean difference with a normal interval over examples."""
    w_NC = np.where(np.isnan(one), 0.0, weights)
    total = float(w_NC.sum())
    if total == 0:
        unknown = float("nan")
        return {"temperature": unknown, "vector": unknown}, dict.fromkeys(("value", "low", "high"), unknown) | {"n": 0}
    means = [float((w_NC * np.nan_to_num(losses)).sum()) / total for losses in (one, other)]
    value = means[0] - means[1]
    away_NC = w_NC * (np.nan_to_num(one - other) - value) / total
    error = float(np.sqrt((away_NC.reshape(len(away_NC), -1).sum(axis=1) ** 2).sum()))
    n = int((w_NC.reshape(len(w_NC), -1) > 0).any(axis=1).sum())
    gain = {"value": value, "low": value - 1.96 * error, "high": value + 1.96 * error, "n": n}
    return {"temperature": means[0], "vector": means[1]}, gain


def _centred(z_NC: Array, kind: Kind) -> Array:
    return z_NC - z_NC.mean(axis=1, keepdims=True) if kind == "single-label" else z_NC


def _newton(z_NC: Array, targets_NC: Array, w_NC: Array, kind: Kind) -> tuple[Array, Array]:
    """Scales and biases near 1 and 0 that minimise the negative log-posterior, which is strongly convex."""
    c = z_NC.shape[1]
    at_P = np.concatenate([np.ones(c), np.zeros(c)])
    value, slope_P, curvature_PP = _posterior(at_P, z_NC, targets_NC, w_NC, kind)
    for _ in range(100):
        step_P = -np.linalg.solve(curvature_PP, slope_P)
        decrease = -float(slope_P @ step_P)
        if decrease <= 1e-13 * (1.0 + abs(value)):
            break
        length = 1.0
        while length > 1e-8:
            tried = _posterior(at_P + length * step_P, z_NC, targets_NC, w_NC, kind)
            if tried[0] <= value - 1e-4 * length * decrease:
                break
            length /= 2
        else:
            break
        at_P = at_P + length * step_P
        value, slope_P, curvature_PP = tried
    return at_P[:c], at_P[c:]


def _posterior(at_P: Array, z_NC: Array, targets_NC: Array, w_NC: Array, kind: Kind) -> tuple[float, Array, Array]:
    """Negative log-posterior of scales and biases, with its gradient (P,) and Hessian (P, P); in blocks of rows."""
    n, c = z_NC.shape
    from_prior_P = at_P - np.concatenate([np.ones(c), np.zeros(c)])
    value, slope_P = 0.5 * _PRIOR * float(from_prior_P @ from_prior_P), _PRIOR * from_prior_P
    curvature_PP = _PRIOR * np.eye(2 * c)
    own, size = np.arange(c), max(1, _CELLS // c)
    for start in range(0, n, size):
        z_nc, t_nc, w_nc = (array[start : start + size] for array in (z_NC, targets_NC, w_NC))
        losses_n, p_nc = _likelihood(z_nc * at_P[:c] + at_P[c:], t_nc, kind)
        value += float((losses_n * (w_nc if kind == "multi-label" else w_nc[:, 0])).sum())
        away_nc, spread_nc = w_nc * (p_nc - t_nc), w_nc * (p_nc * (1 - p_nc) if kind == "multi-label" else p_nc)
        slope_P += np.concatenate([(away_nc * z_nc).sum(axis=0), away_nc.sum(axis=0)])
        curvature_PP[own, own] += (spread_nc * z_nc**2).sum(axis=0)
        curvature_PP[c + own, c + own] += spread_nc.sum(axis=0)
        curvature_PP[own, c + own] += (spread_nc * z_nc).sum(axis=0)
        curvature_PP[c + own, own] += (spread_nc * z_nc).sum(axis=0)
        if kind == "single-label":
            p_nP = np.concatenate([p_nc * z_nc, p_nc], axis=1) * np.sqrt(w_nc[:, :1])
            curvature_PP -= p_nP.T @ p_nP
    return value, slope_P, curvature_PP


def _likelihood(z_NC: Array, targets_NC: Array, kind: Kind) -> tuple[Array, Array]:
    """Negative log-likelihoods, (N,) or (N, C), and probabilities (N, C)."""
    if kind == "multi-label":
        return np.logaddexp(0.0, z_NC) - targets_NC * z_NC, expit(z_NC)
    total_N, p_KN = _log_sum_exp(np.ascontiguousarray(z_NC.T))
    return total_N - np.einsum("nc,nc->n", targets_NC, z_NC), p_KN.T


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
