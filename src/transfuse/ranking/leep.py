"""LEEP: how well the source's own answers, read through an empirical table, predict the new labels.

Nguyen, Hassner, Seeger, Archambeau: "LEEP: A New Measure to Evaluate Transferability of Learned Representations",
ICML 2020, arXiv:2002.12462, equation 2. Ours: a source class that no example has any probability of counts for nothing
(the published code divides zero by zero). Siblings: `nleep.py` needs no head; LogME and H-score need no probabilities.
Letters: N examples, C classes, Z classes of the source.
"""

import numpy as np

from transfuse.core.errors import DataError, UsageError


def leep(p_NZ: np.ndarray, y_N: np.ndarray) -> float:
    """Mean log of the probability of the true class: the source's answers times P(class | source's class); at most 0.

    p_NZ: the source's probabilities, rows that sum to 1. y_N: class indices. Raises `UsageError` for other shapes and
    for rows that are no probabilities, `DataError` for no rows.
    """
    p_NZ, y_N = np.asarray(p_NZ, np.float64), np.asarray(y_N)
    if p_NZ.ndim != 2 or y_N.shape != (len(p_NZ),):
        raise UsageError(
            f"`p` must be (examples, source classes) and `y` (examples,), but are {p_NZ.shape} and {y_N.shape}."
        )
    if not len(y_N):
        raise DataError("LEEP needs at least one example, but there is none.")
    if not (p_NZ >= 0).all() or not np.allclose(p_NZ.sum(axis=1), 1.0, atol=1e-3):
        raise UsageError("`p` must hold probabilities that sum to 1 in every row: apply a softmax first.")
    joint_CZ = np.zeros((int(y_N.max()) + 1, p_NZ.shape[1]))
    np.add.at(joint_CZ, y_N, p_NZ)
    mass_Z = joint_CZ.sum(axis=0)
    given_CZ = np.divide(joint_CZ, mass_Z, out=np.zeros_like(joint_CZ), where=mass_Z > 0)
    expected_N = np.einsum("nz,nz->n", p_NZ, given_CZ[y_N])
    return float(np.log(expected_N).mean())
