"""Signs that training data were poisoned: examples planted so that a trigger, or nothing, leads to a class.

Arrays in, arrays out, on frozen features, class by class:
- clustering: activation clustering (Chen et al., arXiv 1811.03728), the class parted in two by k-means on its first ten
  principal components; planted examples would lie in a smaller part, together.
- spectral: spectral signatures (Tran, Li, Madry, arXiv 1811.00636), the squared projection on the first singular
  vector of the class.
- neighbours: the share of the ten nearest examples, whatever their class, with another label.

The papers look at a network that learnt from the poison. Frozen features hardly see a small trigger (AUROC 0.45 to 0.82
within the class, benchmarks/poisoning.py), and clean classes of photographs have smaller parts and outliers as well: a
null from the other classes accused 6 (clustering) and 15 (spectral) of 20 clean data sets. So these figures are told
and accuse nobody; neighbours see wrong labels, which `wrong_labels` names already; `patches` sees small triggers.
Letters: N examples, D features, C classes, M examples of one class.
"""

from dataclasses import dataclass

import numpy as np

SIGNS = ("clustering", "spectral", "neighbours")
COMPONENTS, NEIGHBOURS, SMALLER, STRANGE = 10, 10, 0.35, 0.9
"""Principal components of a class; neighbours that vote; largest share of a smaller part; vote of a stranger."""
_FEWEST = 10
"""Examples of a class from which anything can be said."""
_BLOCK = 1024


@dataclass(frozen=True, kw_only=True)
class Signs:
    """What is seen of N examples and C classes, by the names in `SIGNS`."""

    scores: dict[str, np.ndarray]
    """(N,): share of the way to the centre of the smaller part; projection over the class's mean one; vote, 0..1."""
    figures: dict[str, np.ndarray]
    """(C,): silhouette of a smaller part; outlyingness of projections; share of strangers. NaN for small classes."""


def signs(x_ND: np.ndarray, y_N: np.ndarray, classes: int, *, seed: int = 0) -> Signs:
    """The three signs of all examples; features are standardised first."""
    deviation_D = x_ND.std(0)
    x_ND = np.where(deviation_D > 0, (x_ND - x_ND.mean(0)) / np.where(deviation_D > 0, deviation_D, 1), 0.0)
    scores = {name: np.zeros(len(x_ND)) for name in SIGNS}
    figures = {name: np.full(classes, np.nan) for name in SIGNS}
    scores["neighbours"] = votes(x_ND, y_N)
    for label in range(classes):
        rows = np.flatnonzero(y_N == label)
        if len(rows) < _FEWEST:
            continue
        parts_M, toward_M, silhouette = parted(x_ND[rows], seed=seed)
        scores["clustering"][rows] = toward_M
        projected_M = projections(x_ND[rows])
        scores["spectral"][rows] = projected_M
        figures["clustering"][label] = silhouette if parts_M.mean() <= SMALLER else 0.0
        figures["spectral"][label] = float(np.log(np.mean(projected_M**2)))  # the fourth moment: tails, two groups
        figures["neighbours"][label] = float((scores["neighbours"][rows] >= STRANGE).mean())
    return Signs(scores=scores, figures=figures)


def parted(x_MD: np.ndarray, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray, float]:
    """Who is of the smaller of two parts, how near each is to its centre (0..1), and the silhouette (-1..1)."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import silhouette_score

    centred = x_MD - x_MD.mean(0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    first_MR = (left * sizes)[:, :COMPONENTS]
    found = KMeans(2, n_init=10, random_state=seed).fit(first_MR)
    counts = np.bincount(found.labels_, minlength=2)
    if counts.min() < 2:
        return found.labels_ == counts.argmin(), np.zeros(len(x_MD)), 0.0
    away_M2 = found.transform(first_MR)
    smaller = int(counts.argmin())
    toward_M = away_M2[:, 1 - smaller] / np.maximum(away_M2.sum(1), 1e-12)
    return found.labels_ == smaller, toward_M, float(silhouette_score(first_MR, found.labels_))


def projections(x_MD: np.ndarray) -> np.ndarray:
    """Squared projections on the first singular vector, over their mean."""
    left, _, _ = np.linalg.svd(x_MD - x_MD.mean(0), full_matrices=False)
    squares_M = left[:, 0] ** 2
    return np.asarray(squares_M / max(squares_M.mean(), 1e-300))


def votes(x_ND: np.ndarray, y_N: np.ndarray, k: int = NEIGHBOURS) -> np.ndarray:
    """Share of the k nearest others, by cosine, with another label."""
    unit_ND = x_ND / np.maximum(np.linalg.norm(x_ND, axis=1, keepdims=True), 1e-12)
    k, found = min(k, len(x_ND) - 1), np.zeros(len(x_ND))
    for start in range(0, len(x_ND) if k else 0, _BLOCK):
        cosines = unit_ND[start : start + _BLOCK] @ unit_ND.T
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -np.inf
        nearest = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
        found[start : start + _BLOCK] = (y_N[nearest] != y_N[start : start + _BLOCK, None]).mean(1)
    return found
