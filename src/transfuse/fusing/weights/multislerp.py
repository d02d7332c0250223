"""Spherical weighted mean of several tensors by one step from their mean direction.

Goddard, "multislerp", https://goddard.blog/posts/multislerp-wow-what-a-cool-idea; both `compat` agree. Everything
happens in the span of the parents, so that their inner products suffice. Letters: P parents.
"""

import numpy as np

from transfuse.core.errors import UsageError
from transfuse.fusing.weights.shares import PerParent, shares


def multislerp(
    gram_PP: np.ndarray, *, weight: PerParent = (1.0,), normalize_weights: bool = True, eps: float = 1e-8
) -> np.ndarray:
    """Coefficients; with a base, of the task vectors."""
    if len(gram_PP) == 1:
        return np.ones(1)
    weight_P = shares(weight, normalize_weights)
    norm_P = np.sqrt(np.diagonal(gram_PP))
    unit_P = 1 / (norm_P + eps)
    cosine_PP = gram_PP * unit_P[:, None] * unit_P
    mean_P = weight_P
    size = np.sqrt(max(mean_P @ cosine_PP @ mean_P, 0.0))
    if size < eps:
        return _without_mean(weight_P)
    mean_P = mean_P / size
    along_P = cosine_PP @ mean_P
    tangent_P = weight_P - (weight_P @ along_P) * mean_P
    k = np.sqrt(max(tangent_P @ cosine_PP @ tangent_P, 0.0)) + eps
    return (mean_P * np.cos(k) + tangent_P * np.sin(k) / k) * (weight_P @ norm_P) * unit_P


def _without_mean(weight_P: np.ndarray) -> np.ndarray:
    """Two opposite tensors are interpolated linearly; for more there is no direction."""
    if len(weight_P) == 2:
        return np.array([1 - weight_P[1], weight_P[1]])
    raise UsageError("`multislerp` must have a mean direction, but the parents cancel. Choose `linear` or `karcher`.")
