"""Scores of a path: the log-loss of each strength's out-of-fold logits at their best temperature.

The negative log-likelihood is convex in the inverse temperature, whose best value moves little from one strength to the
next; so two or three Newton steps a strength do. Where they do not (no minimiser, misleading logits), and for the
temperature that is kept, `calibrating.temperature` decides.
Letters: N examples, C classes or labels; M problems of K classes: N of C, or N·C of 2 for multi-label.
"""

import numpy as np
from numpy.typing import NDArray

from transfuse.core.nouns import Kind
from transfuse.probing.calibrating import log_losses, temperature

Array = NDArray[np.float64]

_STEPS = 12
_NEAR = 1e-4
"""Relative Newton step below which the loss is right to 8 digits."""
_LARGEST = 80.0
"""Exponent up to which float32 holds the exponential."""


def calibrated_losses(z_NC: np.ndarray, y: np.ndarray, kind: Kind, weights: Array, start: float) -> tuple[Array, float]:
    """Log-losses at the best temperature, (N,) or (N, C) for multi-label, and the sharpness to start the next one at.

    Args:
        z_NC: Out-of-fold logits, float32 or float64: the precision of the sums.
        y: As in `calibrating.temperature`.
        weights: (N,), or (N, C) for multi-label.
        start: Inverse temperature times the spread of the logits, of the strength before; 0 for none.
    """
    if not (weights > 0).any():
        return log_losses(z_NC, y, kind), start
    away_KM = _differences(z_NC, y, kind)
    spread = float(np.sqrt(np.einsum("km,km->", away_KM, away_KM, dtype=np.float64) / away_KM.size))
    if spread > 0 and away_KM.max() > 0:
        found = _newton(away_KM, weights.reshape(-1) / weights.sum(), (start or 1.0) / spread)
        if found is not None:
            losses_M, sharpness = found
            return losses_M.reshape(weights.shape), sharpness * spread
    return log_losses(z_NC / temperature(z_NC, y, kind, weights), y, kind), start


def _newton(away_KM: np.ndarray, share_M: Array, sharpness: float) -> tuple[Array, float] | None:
    """The losses at the best inverse temperature and that one; None where Newton's steps do not settle."""
    largest = float(away_KM.max())
    powers_KM = np.empty_like(away_KM)
    for _ in range(_STEPS):
        if not 0 < sharpness * largest < _LARGEST - 2 * np.log(max(largest, 1.0)):  # the square is summed as well
            return None
        np.multiply(away_KM, away_KM.dtype.type(sharpness), out=powers_KM)
        np.exp(powers_KM, out=powers_KM)
        total_M = powers_KM.sum(axis=0)
        powers_KM *= away_KM
        first_M = powers_KM.sum(axis=0) / total_M
        powers_KM *= away_KM
        second_M = powers_KM.sum(axis=0) / total_M - first_M**2
        slope, curvature = float(share_M @ first_M), float(share_M @ second_M)
        if not curvature > 0:
            return None
        step = -slope / curvature
        if abs(step) <= _NEAR * sharpness:
            return np.log(total_M).astype(np.float64), sharpness
        sharpness += max(step, -0.75 * sharpness)
    return None


def _differences(z_NC: np.ndarray, y: np.ndarray, kind: Kind) -> np.ndarray:
    """Logits less the true one's, (K, M), classes leading; the true one's own is 0."""
    if kind == "multi-label":
        against = np.where(y > 0, -z_NC, z_NC).reshape(1, -1)
        return np.concatenate([against, np.zeros_like(against)])
    z_CN = np.ascontiguousarray(z_NC.T)
    z_CN -= z_NC[np.arange(len(z_NC)), y]
    return z_CN
