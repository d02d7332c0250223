"""The Riemannian (Karcher) mean of directions on the sphere, times the mean norm; uniform weights.

Karcher, Comm. Pure Appl. Math. 30 (1977); both `compat` agree. Zero tensors have no direction, but count in the mean
norm. Logarithm and exponential stay in the span of the parents, so inner products suffice. Letters: P parents.
"""

import numpy as np


def karcher(gram_PP: np.ndarray, *, max_iter: int = 10, tol: float = 1e-5) -> np.ndarray:
    """Coefficients of the parents."""
    norm_P = np.sqrt(np.diagonal(gram_PP))
    alive_P = norm_P > tol
    if not alive_P.any():
        return np.zeros(len(norm_P))
    unit_P = np.where(alive_P, 1 / np.where(alive_P, norm_P, 1.0), 0.0)
    cosine_PP = gram_PP * unit_P[:, None] * unit_P
    mean_P = _start(cosine_PP, alive_P, tol)
    for _ in range(max_iter):
        tangent_P = _tangent(cosine_PP, alive_P, mean_P)
        size = _length(cosine_PP, tangent_P)
        if size < tol:
            break
        mean_P = np.cos(size) * mean_P + np.sin(size) * tangent_P / size
        mean_P = mean_P / _length(cosine_PP, mean_P)
    return mean_P * unit_P * norm_P.mean()


def _length(cosine_PP: np.ndarray, x_P: np.ndarray) -> float:
    return float(np.sqrt(max(x_P @ cosine_PP @ x_P, 0.0)))


def _start(cosine_PP: np.ndarray, alive_P: np.ndarray, tol: float) -> np.ndarray:
    """The normalised mean of the directions; the first direction when they cancel."""
    mean_P = alive_P / alive_P.sum()
    size = _length(cosine_PP, mean_P)
    return mean_P / size if size >= tol else np.eye(len(alive_P))[np.argmax(alive_P)]


def _tangent(cosine_PP: np.ndarray, alive_P: np.ndarray, mean_P: np.ndarray) -> np.ndarray:
    """The mean of the logarithms of all directions at `mean_P`; that of the opposite point is not defined: 0."""
    cosine_P = np.clip(cosine_PP @ mean_P, -1, 1)
    angle_P = np.arccos(cosine_P)
    sine_P = np.sin(angle_P)
    rate_P = np.where(alive_P & (sine_P > 1e-6), angle_P / np.where(sine_P > 1e-6, sine_P, 1.0), 0.0)
    return (rate_P - (rate_P @ cosine_P) * mean_P) / alive_P.sum()
