"""t·mean + (1−t)·base with t = N·cos/(1+(N−1)·cos). Jang et al., "Model Stock", arXiv 2403.19522.

cos is the mean cosine between task vectors, of a whole tensor or (`filter_wise`) of its vectors along the last axis. A
negative one gives a negative t, which leads away from the mean; as published, it is not clipped. Both `compat` agree.
Letters: P parents, R rows (absent for whole tensors).
"""

from itertools import combinations

import numpy as np


def model_stock(gram_PPR: np.ndarray, *, filter_wise: bool = False) -> np.ndarray:
    """Coefficients of the task vectors."""
    n = len(gram_PPR)
    norm_PR = np.stack([np.sqrt(gram_PPR[i, i]) for i in range(n)])
    pairs = [
        np.clip(gram_PPR[i, j] / np.maximum(norm_PR[i] * norm_PR[j], 1e-6), -1, 1) for i, j in combinations(range(n), 2)
    ]
    cosine_R = np.mean(pairs, axis=0)
    denominator_R = 1 + (n - 1) * cosine_R
    lost_R = np.abs(denominator_R) < 1e-6
    t_R = np.where(lost_R, 0.0, n * cosine_R / np.where(lost_R, 1.0, denominator_R))
    return np.stack([t_R / n] * n)
