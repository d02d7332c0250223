"""Σ w·x / Σ w: the soup. Wortsman et al., "Model soups", arXiv 2203.05482; with two weights 1−α, α it is WiSE-FT.

Letters: P parents.
"""

import numpy as np

from transfuse.fusing.weights.shares import PerParent, shares


def linear(gram_PP: np.ndarray | None, *, weight: PerParent = (1.0,), normalize: bool = True) -> np.ndarray:
    """Coefficients of the weighted mean; `normalize` divides by the sum of the weights, which must not be zero."""
    return shares(weight, normalize)
