"""Ridge regression: the whole path of strengths from one eigendecomposition.

Hoerl and Kennard, "Ridge Regression", Technometrics 1970. For classification it is fitted to the one-hot targets and
its out-of-fold outputs are calibrated by a temperature: "Prevalidated Ridge Regression" (Dempster, Webb, Schmidt,
2024, arXiv:2401.15610). Sibling: `logistic.py`, which has another loss in the same coordinates.

For rows z_n in the eigenbasis, with weights w that sum to 1, it minimises, for every column c,
    sum_n w_n (t_nc - b_c - z_n·v_c)^2 + strength ||v_c||^2.
Letters: N examples, R directions, C targets, J strengths.
"""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

STRENGTHS: tuple[float, ...] = tuple(float(s) for s in np.logspace(3, -6, 19))
"""Strongest first. On standardised features the mean eigenvalue is 1, so the range does not depend on units."""


def ridge_path(
    z_NR: Array, values_R: Array, targets_NC: Array, weights_N: Array, strengths: tuple[float, ...] = STRENGTHS
) -> tuple[Array, Array]:
    """Slopes (J, R, C) and intercepts (J, C) for every strength.

    `z_NR` must be centred and decorrelated under the weights, with the variances `values_R`: see `basis.py`.
    """
    share_N = weights_N / weights_N.sum()
    mean_C = share_N @ targets_NC
    moment_RC = z_NR.T @ (share_N[:, None] * (targets_NC - mean_C))
    slopes_JRC = moment_RC / (values_R[None, :, None] + np.asarray(strengths)[:, None, None])
    return slopes_JRC, np.tile(mean_C, (len(strengths), 1))
