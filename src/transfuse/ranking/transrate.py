"""TransRate: how much longer a code for the features is than one for the features of each class.

Huang, Huang, Rong, Yang, Wei: "Frustratingly Easy Transferability Estimation", ICML 2022, arXiv:2106.09362, equation 4,
with the published code's mean over classes and common centre. Ours: classes without an example are left out, and the
determinant is taken of the smaller Gram matrix (Sylvester's identity). It depends on the features' units and grows
with their number, so it compares networks of one width only. Letters: N examples, D features.
"""

import numpy as np

from transfuse.core.errors import DataError, UsageError


def transrate(x_ND: np.ndarray, y_N: np.ndarray, *, eps: float = 1e-4) -> float:
    """Coding rate of all features less the mean rate of the classes, in nats.

    x_ND: finite features. y_N: class indices. eps: squared distortion of the code, above 0.
    Raises `UsageError` for other shapes or eps, `DataError` for no rows.
    """
    x_ND, y_N = np.asarray(x_ND, np.float64), np.asarray(y_N)
    if x_ND.ndim != 2 or y_N.shape != (len(x_ND),) or not eps > 0:
        raise UsageError(
            f"`x` must be (examples, features), `y` (examples,) and `eps` above 0, but are {x_ND.shape}, {y_N.shape}"
            f" and {eps}."
        )
    if not len(x_ND):
        raise DataError("TransRate needs at least one example, but there is none.")
    centred_ND = x_ND - x_ND.mean(axis=0)
    rates = [_rate(centred_ND[y_N == c], eps) for c in np.unique(y_N)]
    return _rate(centred_ND, eps) - float(np.mean(rates))


def _rate(x_ND: np.ndarray, eps: float) -> float:
    """Half the log-determinant of 1 + x'x / (N eps)."""
    gram = x_ND @ x_ND.T if len(x_ND) < x_ND.shape[1] else x_ND.T @ x_ND
    gram /= len(x_ND) * eps
    gram[np.diag_indices(len(gram))] += 1.0
    return 0.5 * float(np.linalg.slogdet(gram)[1])
