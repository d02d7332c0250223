"""(S + strength) v = b for a whole path of strengths, from one tridiagonal form of S.

Eldén, "Algorithms for the Regularization of Ill-Conditioned Least Squares Problems", BIT 1977: S = Q T Q' with T
tridiagonal costs a fifth of an eigendecomposition, and each strength is then a tridiagonal system.
Letters: D features, C right-hand sides, J strengths.
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

Array = NDArray[np.float64]


def solve_path(s_DD: Array, b_DC: Array, strengths: tuple[float, ...], *, exact: bool) -> np.ndarray:
    """Solutions (D, J, C); float32 for a path that is not exact.

    Args:
        s_DD: Symmetric and positive semi-definite but for rounding.
        strengths: Positive, and above what is noise in S.
        exact: Whether to transform back in float64.
    """
    d, c = b_DC.shape
    j = len(strengths)
    if d == 0:
        return np.zeros((0, j, c))
    if j == 1 or d == 1:
        return np.stack([_solve_one(s_DD, b_DC, strength) for strength in strengths], axis=1)
    reflectors, diagonal, off, tau, _ = lapack.dsytrd(s_DD, lower=1, lwork=64 * d)
    below = np.asfortranarray(reflectors[1:, :-1])
    turned = _turn(below, tau, np.asfortranarray(b_DC), transposed=True)
    u_DP = np.empty((d, j * c), order="F")
    for number, strength in enumerate(strengths):
        u_DP[:, number * c : (number + 1) * c] = _shifted_solve(diagonal, off, turned, strength)
    if not exact:
        below, tau, u_DP = (np.asarray(part, dtype=np.float32, order="F") for part in (below, tau, u_DP))
    return _turn(below, tau, u_DP, transposed=False).reshape(d, j, c)


def _solve_one(s_DD: Array, b_DC: Array, strength: float) -> Array:
    """By Cholesky, which is cheaper for one strength."""
    at = np.diag_indices_from(s_DD)
    for _ in range(60):
        shifted_DD = s_DD.copy(order="F")
        shifted_DD[at] += strength
        _, solution_DC, info = lapack.dposv(shifted_DD, b_DC, overwrite_a=1)
        if info == 0:
            return solution_DC
        strength = 2.0 * strength + 1e-300
    return np.zeros_like(b_DC)


def _shifted_solve(diagonal: Array, off: Array, b_DC: Array, strength: float) -> Array:
    """(T + strength) u = b; a strength at which T is still not positive is doubled: T is noise there."""
    for _ in range(60):
        pivots, factors, info = lapack.dpttrf(diagonal + strength, off)
        if info == 0:
            return lapack.dpttrs(pivots, factors, b_DC)[0]
        strength = 2.0 * strength + 1e-300
    return np.zeros_like(b_DC)


def _turn(below: np.ndarray, tau: np.ndarray, c_DP: np.ndarray, *, transposed: bool) -> np.ndarray:
    """Q' c or Q c, from the reflectors below the diagonal. The first row of Q is that of the identity."""
    if c_DP.shape[1] == 0:
        return c_DP
    ormqr = lapack.sormqr if c_DP.dtype == np.float32 else lapack.dormqr
    rest, _, _ = ormqr("L", "T" if transposed else "N", below, tau, c_DP[1:], 64 * c_DP.shape[1])
    return np.concatenate([c_DP[:1], rest])
