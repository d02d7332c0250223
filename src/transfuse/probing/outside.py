"""Scores that tell inputs from outside of what was learnt, from what a model can carry with it; arrays in, arrays out.

- `energy`: -log sum exp of the logits (Liu et al., arXiv 2010.03759). Several labels: the sum over labels of
  -log(1 + exp) (JointEnergy, Wang et al., arXiv 2111.14506).
- `probability`: 1 - the largest probability (Hendrycks and Gimpel, arXiv 1610.02136).
- `mahalanobis`: squared distance to the nearest class mean under one covariance (Lee et al., arXiv 1807.03888). Means
  and covariance come from the sums that a probe's head was solved from: no second pass. We shrink the covariance by
  OAS (Chen et al., arXiv 0907.4698), which needs nothing else; Ledoit and Wolf's needs fourth powers of the rows.
- `neighbours`: distance to the k-th nearest training example, features at length 1 (Sun et al., arXiv 2204.06507), of
  a random part of the training examples. These are personal data where the examples are.

Distances relative to those from the mean of all (Ren et al., arXiv 2106.09022) were tried and left out: far inputs came
out as the most ordinary ones. All are larger for what lies further outside. Letters: N inputs, M known examples, C
classes, D features, K neighbours, R directions.
"""

from collections.abc import Mapping

import numpy as np
import scipy.linalg
from scipy import stats

from transfuse.core.errors import DataError, UsageError
from transfuse.core.nouns import Kind
from transfuse.core.randomness import key
from transfuse.probing.moments import Moments
from transfuse.probing.rejecting import energy, improbability

SCORES = ("energy", "probability", "mahalanobis", "neighbours")
FEATURED = ("mahalanobis", "neighbours")
"""Those that look at features."""
KEPT, NEIGHBOURS = 2000, 10
"""Examples that `neighbours` keeps, and which of the nearest counts."""
WIDEST, DIRECTIONS = 512, 256
"""Features up to which a covariance is kept whole, and directions that are kept of wider ones."""
_BLOCK = 4096
_NAMES = ("directions_RD", "variances_R", "rest")
_LEAST = 1e-6  # of the mean variance: what is left of a direction without any
Statistics = Mapping[str, np.ndarray]


def scores(name: str, kind: Kind, logits_NC: np.ndarray, x_ND: np.ndarray | None, statistics: Statistics) -> np.ndarray:
    """One score an input, float64 (N,). Logits are divided by the temperature before."""
    if name in ("energy", "probability"):
        if kind == "regression":
            raise UsageError(f"`{name}` is a score of classes, but the model is of kind regression.")
        logits = np.asarray(logits_NC, np.float64)
        if kind == "multi-label":
            return -np.logaddexp(0, logits).sum(1) if name == "energy" else 1 - 1 / (1 + np.exp(-logits.max(1)))
        return energy(logits) if name == "energy" else improbability(logits)
    if x_ND is None:
        raise DataError(f"The score '{name}' needs features, but there are none.")
    x_ND = np.asarray(x_ND, np.float64)
    if name == "neighbours":
        return neighbours(x_ND, statistics["known_MD"], int(statistics["neighbours"]))
    return distances(x_ND, statistics["means_CD"], _metric(statistics)).min(1)


def gaussians(sums: Moments, *, classes: bool) -> dict[str, np.ndarray]:
    """What `mahalanobis` needs, from the sums over one-hot targets; float32.

    classes: False for targets that are no classes: one mean, and the covariance of all, stand for them.
    """
    mean_D = sums.shift_D + sums.sum_D / sums.weight
    total_DD = sums.gram_DD / sums.weight - np.outer(sums.sum_D, sums.sum_D) / sums.weight**2
    if classes:
        there = np.flatnonzero(sums.target_sum_C > 0)
        counts = sums.target_sum_C[there]
        middle_CD = (sums.cross_DC[:, there] / counts).T
        within_DD = sums.gram_DD / sums.weight - (middle_CD.T * (counts / sums.weight)) @ middle_CD
        means_CD, degrees = middle_CD + sums.shift_D, sums.rows - len(there)
    else:
        means_CD, within_DD, degrees = mean_D[None], total_DD, sums.rows - 1
    found = {"means_CD": means_CD, **_named(principal(within_DD, max(1, degrees)))}
    return {name: np.array(array, np.float32) for name, array in found.items()}


def gaussians_of_rows(x_ND: np.ndarray, y_N: np.ndarray | None) -> dict[str, np.ndarray]:
    """What `mahalanobis` needs, from fewer rows than features; without classes one mean stands for them."""
    x_ND = np.asarray(x_ND, np.float64)
    there, places_N = np.unique(np.zeros(len(x_ND)) if y_N is None else y_N, return_inverse=True)
    means_CD = np.stack([x_ND[places_N == place].mean(0) for place in range(len(there))])
    metric = principal_of_rows(x_ND - means_CD[places_N], max(1, len(x_ND) - len(there)))
    found = {"means_CD": means_CD, **_named(metric)}
    return {name: np.array(array, np.float32) for name, array in found.items()}


Metric = tuple[np.ndarray, np.ndarray, float]
"""Directions (R, D), the variance along each (R,), and the variance along all others."""


def principal(covariance_DD: np.ndarray, rows: int, *, widest: int = WIDEST, kept: int = DIRECTIONS) -> Metric:
    """A covariance, shrunk towards a multiple of the identity by OAS, by its principal directions.

    All of them up to `widest` features; above, the `kept` largest, the others sharing their mean variance (Tipping and
    Bishop, "Probabilistic principal component analysis", 1999), so that a model does not double its size.
    """
    d = len(covariance_DD)
    mean = float(np.trace(covariance_DD)) / d
    if not mean > 0:
        return np.zeros((0, d)), np.zeros(0), 1.0
    first = 0 if d <= widest else d - kept
    values_R, vectors_DR = scipy.linalg.eigh(covariance_DD, subset_by_index=(first, d - 1))
    return _shrunk(values_R, vectors_DR.T, mean, float(np.mean(covariance_DD**2)), (rows, d))


def _shrunk(
    values_R: np.ndarray, directions_RD: np.ndarray, mean: float, alpha: float, shape: tuple[int, int]
) -> Metric:
    """Chen et al., eq. 23, with S the covariance: tr(S)² = d² mean², tr(S²) = d² alpha."""
    rows, d = shape
    apart = (rows + 1) * (alpha - mean**2 / d)
    share = min(1.0, (alpha + mean**2) / apart) if apart > 0 else 1.0
    others = d - len(values_R)
    rest = (d * mean - values_R.sum()) / others if others else mean
    shrunk_R = (1 - share) * np.maximum(values_R, 0) + share * mean
    least = _LEAST * mean
    return directions_RD, np.maximum(shrunk_R, least), max((1 - share) * rest + share * mean, least)


def principal_of_rows(centred_ND: np.ndarray, rows: int, *, kept: int = DIRECTIONS) -> Metric:
    """The same of rows with their means taken off, by their inner products: for fewer rows than features."""
    n, d = centred_ND.shape
    gram_NN = np.asarray(centred_ND, np.float64) @ np.asarray(centred_ND, np.float64).T / n
    mean, alpha = float(np.trace(gram_NN)) / d, float((gram_NN**2).sum()) / d**2
    values_R, vectors_NR = scipy.linalg.eigh(gram_NN, subset_by_index=(max(0, n - kept), n - 1))
    there = values_R > _LEAST * max(mean, 1e-300)
    values_R, vectors_NR = values_R[there], vectors_NR[:, there]
    directions_RD = (vectors_NR / np.sqrt(n * values_R)).T @ centred_ND
    return _shrunk(values_R, directions_RD, mean, alpha, (rows, d))


def distances(x_ND: np.ndarray, means_CD: np.ndarray, metric: Metric) -> np.ndarray:
    """Squared Mahalanobis distances (N, C) to each mean."""
    directions_RD, variances_R, rest = metric
    centre_D = np.asarray(means_CD, np.float64).mean(0)  # large means cost no digits
    more_R = 1 / variances_R - 1 / rest  # what a direction counts beyond what every direction counts
    middle_CD = means_CD - centre_D
    middle_CR = middle_CD @ directions_RD.T
    found = []
    for start in range(0, len(x_ND), _BLOCK):
        seen_ND = x_ND[start : start + _BLOCK] - centre_D
        along_NC = _squares(seen_ND @ directions_RD.T, middle_CR, more_R)
        found.append(np.maximum(_squares(seen_ND, middle_CD, 1 / rest) + along_NC, 0))
    return np.concatenate(found) if found else np.zeros((0, len(means_CD)))


def _squares(a_ND: np.ndarray, b_CD: np.ndarray, weight: np.ndarray | float) -> np.ndarray:
    """Weighted squared distances (N, C)."""
    return (weight * a_ND**2).sum(1)[:, None] + (weight * b_CD**2).sum(1)[None] - 2 * (weight * a_ND) @ b_CD.T


def _named(metric: Metric) -> dict[str, np.ndarray]:
    return {name: np.asarray(part) for name, part in zip(_NAMES, metric, strict=True)}


def _metric(statistics: Statistics) -> Metric:
    directions_RD, variances_R, rest = (np.asarray(statistics[name], np.float64) for name in _NAMES)
    return directions_RD, variances_R, float(rest)


def some_known(x_MD: np.ndarray, *, seed: int = 0, most: int = KEPT, k: int = NEIGHBOURS) -> dict[str, np.ndarray]:
    """What `neighbours` needs: a random part of the training features at length 1, float32; and K."""
    rows = np.random.default_rng(key(seed, "neighbours")).permutation(len(x_MD))[:most]
    return {"known_MD": _unit(x_MD[np.sort(rows)]).astype(np.float32), "neighbours": np.array(min(k, len(rows)))}


def neighbours(x_ND: np.ndarray, known_MD: np.ndarray, k: int) -> np.ndarray:
    """Distance to the k-th nearest of known rows of length 1, (N,)."""
    found, known_MD = [], np.asarray(known_MD, np.float64)
    for start in range(0, len(x_ND), _BLOCK):
        squares_NM = _squares(_unit(x_ND[start : start + _BLOCK]), known_MD, 1.0)
        found.append(np.sqrt(np.maximum(0, np.partition(squares_NM, k - 1, axis=1)[:, k - 1])))
    return np.concatenate(found) if found else np.zeros(0)


def threshold(ordinary_N: np.ndarray, share: float) -> tuple[float, dict[str, float]]:
    """The score above which at most a share (0..1) of new ordinary inputs lies, on average; and how many do.

    The k-th smallest of N scores with k = ceil((N + 1)(1 - share)), as in conformal prediction. Whatever the scores'
    distribution, the share of new inputs above it then follows a Beta(N + 1 - k, k), which gives mean and interval.
    Where N is too small for the promise, the largest score is taken, and the mean says so.
    """
    if not 0 < share < 1:
        raise UsageError(f"`share` must be above 0 and below 1, but is {share}.")
    count = len(ordinary_N)
    if not count or not np.isfinite(ordinary_N).all():
        raise DataError("Scores of ordinary inputs must be finite numbers, at least one of them.")
    k = min(count, int(np.ceil((count + 1) * (1 - share) - 1e-9)))
    low, high = stats.beta.ppf([0.025, 0.975], count + 1 - k, k).tolist()
    value = (count + 1 - k) / (count + 1)
    return float(np.sort(ordinary_N)[k - 1]), {"value": value, "low": low, "high": high, "n": count}


def _unit(x_ND: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(np.asarray(x_ND, np.float64), axis=1, keepdims=True)
    return x_ND / np.maximum(lengths, 1e-12)
