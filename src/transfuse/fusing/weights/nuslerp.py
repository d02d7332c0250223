"""Slerp with weights instead of t, over whole tensors or their rows, of tensors or of task vectors.

mergekit's `nuslerp`; both `compat` agree, except that weights that sum to zero are refused here. The linear branch is
taken only when the angle is lost in rounding. Letters: P parents (two), R rows (absent for whole tensors).
"""

import numpy as np

from transfuse.fusing.weights.shares import PerParent, require_sum


def nuslerp(
    gram_PPR: np.ndarray,
    *,
    weight: PerParent = (1.0,),
    nuslerp_flatten: bool = True,
    nuslerp_row_wise: bool = False,
) -> np.ndarray:
    """Coefficients on the arc at t = w₁/(w₀+w₁); without `nuslerp_flatten` for every vector along the last axis,
    or with `nuslerp_row_wise` along the first."""
    require_sum(weight)
    t = weight[1] / (weight[0] + weight[1])
    norm_a, norm_b = (np.sqrt(gram_PPR[i, i]).clip(1e-7) for i in (0, 1))
    cosine = np.clip(gram_PPR[0, 1] / (norm_a * norm_b), -1, 1)
    sine_squared = 1 - cosine**2
    straight = sine_squared <= 1e-14  # float32 inner products do not resolve less
    theta = np.arccos(cosine)
    sine = np.where(straight, 1.0, np.sin(theta))
    a = np.where(straight, 1 - t, np.sin((1 - t) * theta) / sine)
    b = np.where(straight, t, np.sin(t * theta) / sine)
    return np.stack([a, b])
