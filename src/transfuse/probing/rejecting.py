"""Scores by which inputs that belong to no class are told apart, and what rejecting by them costs.

Maximum probability: Hendrycks and Gimpel, arXiv 1610.02136. Energy: Liu et al., arXiv 2010.03759. Mahalanobis
distance to the nearest class mean under one covariance (here Ledoit and Wolf's): Lee et al., arXiv 1807.03888.
All are larger for what lies further outside. Letters: N inputs, M training examples, C classes, D features.
"""

from collections.abc import Sequence

import numpy as np

from transfuse.core.errors import DataError

KEPT = (0.8, 0.9, 0.95, 0.99)
"""Shares of the inputs inside that are to be answered, for the operating curve."""
_RESAMPLES = 1000


def improbability(logits_NC: np.ndarray) -> np.ndarray:
    """1 − the largest probability, (N,)."""
    shifted = logits_NC - logits_NC.max(1, keepdims=True)
    return 1 - 1 / np.exp(shifted).sum(1)


def energy(logits_NC: np.ndarray) -> np.ndarray:
    """−log Σ exp of the logits, (N,)."""
    top_N = logits_NC.max(1)
    return -(top_N + np.log(np.exp(logits_NC - top_N[:, None]).sum(1)))


def mahalanobis(x_ND: np.ndarray, known_MD: np.ndarray, classes_M: np.ndarray) -> np.ndarray:
    """Squared distance to the nearest mean of a class, in units of the spread within classes, (N,)."""
    from sklearn.covariance import LedoitWolf

    present, places = np.unique(classes_M, return_inverse=True)
    means_CD = np.stack([known_MD[places == place].mean(0) for place in range(len(present))])
    within = LedoitWolf(assume_centered=True).fit((known_MD - means_CD[places]).astype(np.float64))
    lower_DD = np.linalg.cholesky(within.precision_ + 1e-12 * np.eye(known_MD.shape[1]))
    seen_ND, middle_CD = x_ND @ lower_DD, means_CD @ lower_DD
    squares_NC = (seen_ND**2).sum(1)[:, None] + (middle_CD**2).sum(1)[None] - 2 * seen_ND @ middle_CD.T
    return squares_NC.min(1)


def separation(inside_N: np.ndarray, outside_N: np.ndarray, *, seed: int = 0) -> dict[str, float]:
    """Area under the ROC curve: how often a random input from outside scores higher than one from inside.

    With a bootstrap interval of 95 % over both samples; `n` is their sum.
    """
    if not len(inside_N) or not len(outside_N):
        raise DataError("Out-of-scope detection needs inputs from inside and from outside, but one of them is empty.")
    random = np.random.default_rng(seed)
    values = [
        _area(random.choice(inside_N, len(inside_N)), random.choice(outside_N, len(outside_N)))
        for _ in range(_RESAMPLES)
    ]
    low, high = np.quantile(values, [0.025, 0.975])
    count = len(inside_N) + len(outside_N)
    return {"value": _area(inside_N, outside_N), "low": float(low), "high": float(high), "n": count}


def operating_curve(
    inside_N: np.ndarray, outside_N: np.ndarray, kept: Sequence[float] = KEPT
) -> list[dict[str, float]]:
    """For each share of the inside that is to be answered: the threshold, and the share of the outside rejected."""
    return [
        {
            "inside answered": float((inside_N <= threshold).mean()),
            "outside rejected": float((outside_N > threshold).mean()),
            "threshold": threshold,
        }
        for threshold in (float(np.quantile(inside_N, share, method="higher")) for share in kept)
    ]


def _area(inside_N: np.ndarray, outside_N: np.ndarray) -> float:
    """The Mann-Whitney statistic by midranks."""
    below = np.searchsorted(np.sort(inside_N), outside_N, side="left")
    upto = np.searchsorted(np.sort(inside_N), outside_N, side="right")
    return float((below + upto).mean() / 2 / len(inside_N))
