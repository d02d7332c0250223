"""sin((1−t)θ)/sin θ · a + sin(tθ)/sin θ · b, θ the angle between two whole tensors. Shoemake, SIGGRAPH 1985.

Parallel and antipodal tensors (|cos θ| > 0.9995) are interpolated linearly. A tensor of zeros has no angle: published,
it is interpolated linearly too; mergekit takes the angle to be a right one. Letters: P parents (two).
"""

import numpy as np

from transfuse.fusing.weights.methods import Compat

NO_NORM = 1e-8


def slerp(gram_PP: np.ndarray, *, t: float = 0.5, compat: Compat = "published") -> np.ndarray:
    """Coefficients on the arc; `t` 0 gives the first parent, 1 the second."""
    norm_P = np.sqrt(np.diagonal(gram_PP))
    zero = norm_P <= NO_NORM
    safe_P = np.where(zero, 1.0, norm_P)
    cosine = float(np.clip(gram_PP[0, 1] / (safe_P[0] * safe_P[1]), -1, 1))
    straight = abs(cosine) > 0.9995 or (compat == "published" and bool(zero.any()))
    if straight:
        return np.array([1 - t, t])
    theta = np.arccos(cosine)
    return np.array([np.sin((1 - t) * theta), np.sin(t * theta)]) / np.sin(theta)
