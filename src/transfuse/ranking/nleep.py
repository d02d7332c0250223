"""N-LEEP: LEEP with the components of a Gaussian mixture of the features in the place of the source's classes.

Li, Jia, Sang, Zhu, Green, Wang, Gong: "Ranking Neural Checkpoints", CVPR 2021, arXiv:2011.11200, section 4. So it
needs no head. Features are first projected to their principal directions (80 % of the variance).
Ours: the logarithm that the paper has and some published code leaves out; the mixture is seeded; at most 2,000
examples, 32 directions, 100 components and half as many components as examples, because the mixture's time grows with
all of them. Letters: N examples, D features, Z components.
"""

import warnings

import numpy as np

from transfuse.core.errors import DataError, UsageError
from transfuse.ranking.leep import leep

_ROWS, _DIRECTIONS, _COMPONENTS = 2000, 32, 100
_VARIANCE = 0.8


def nleep(x_ND: np.ndarray, y_N: np.ndarray, *, ratio: int = 5, seed: int = 0) -> float:
    """LEEP of a mixture's posteriors; at most 0, more is better.

    x_ND: finite features, of which the first 2,000 rows count. y_N: class indices. ratio: components a class.
    Raises `UsageError` for other shapes, `DataError` for fewer than 2 examples.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    x_ND, y_N = np.asarray(x_ND)[:_ROWS].astype(np.float64), np.asarray(y_N)[:_ROWS]
    if x_ND.ndim != 2 or y_N.shape != (len(x_ND),) or ratio < 1:
        raise UsageError(
            f"`x` must be (examples, features), `y` (examples,) and `ratio` at least 1, but are {x_ND.shape},"
            f" {y_N.shape} and {ratio}."
        )
    if len(x_ND) < 2:
        raise DataError(f"N-LEEP needs at least 2 examples, but there are {len(x_ND)}.")
    z_NR = _principal(x_ND)
    components = max(1, min(ratio * len(np.unique(y_N)), _COMPONENTS, len(x_ND) // 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a mixture that moves a little more scores no other way
        p_NZ = GaussianMixture(components, random_state=seed).fit(z_NR).predict_proba(z_NR)
    return leep(p_NZ, y_N)


def _principal(x_ND: np.ndarray) -> np.ndarray:
    """Coordinates (N, R) along the directions that hold 80 % of the variance; one of zeros when nothing varies."""
    from sklearn.decomposition import PCA

    if (np.ptp(x_ND, axis=0) <= 1e-12 * np.abs(x_ND).max(axis=0)).all():
        return np.zeros((len(x_ND), 1))
    return PCA(_VARIANCE, svd_solver="full").fit_transform(x_ND)[:, :_DIRECTIONS]
