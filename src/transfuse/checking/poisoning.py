"""Signs that training data were poisoned: examples planted so that a trigger, or nothing, leads to a class.

Arrays in, arrays out, on frozen features, class by class:
- clustering: activation clustering (Chen et al., arXiv 1811.03728), the class parted in two by k-means on its first ten
  principal components; planted examples would lie in a smaller part, together.
- spectral: spectral signatures (Tran, Li, Madry, arXiv 1811.00636), the squared projection on the first singular
  vector of the class.
- neighbours: the share of the ten nearest examples, whatever their class, with another label.

The papers look at a network that learnt from the poison, with thresholds of their own that accuse clean classes of
photographs (every one has a smaller part). Ours is a null from the data: classes of clean data are alike, so a class is
suspicious when its figure lies above the prediction interval of the other classes' at one in a hundred data sets
(Student's t, Bonferroni over classes and the three figures). With frozen features clustering and spectral signatures
hardly see a small trigger; benchmarks/poisoning.py has the figures, `patches` what does see it.
Letters: N examples, D features, C classes, M examples of one class.
"""

from dataclasses import dataclass

import numpy as np
from scipy import stats

SIGNS = ("clustering", "spectral", "neighbours")
ALPHA = 0.01
"""How often clean data with classes that are alike are accused at all."""
COMPONENTS, NEIGHBOURS, SMALLER, STRANGE = 10, 10, 0.35, 0.9
"""Principal components of a class; neighbours that vote; largest share of a smaller part; vote of a stranger."""
_FEWEST, _CLASSES = 10, 4
"""Examples of a class, and classes, from which anything can be said."""
_BLOCK = 1024


@dataclass(frozen=True, kw_only=True)
class Signs:
    """What was seen of N examples and C classes, by the names in `SIGNS`."""

    scores: dict[str, np.ndarray]
    """(N,): share of the way to the centre of the smaller part; projection over the class's mean one; vote, 0..1."""
    figures: dict[str, np.ndarray]
    """(C,): silhouette of a smaller part; outlyingness of projections; share of strangers. NaN for small classes."""
    p: dict[str, np.ndarray]
    """(C,): how rare so high a figure is if the class is like the others, after Bonferroni, at most 1."""
    smaller_N: np.ndarray
    """Whether it is of the smaller part of its class."""

    def suspicious(self, name: str) -> np.ndarray:
        """Classes that this sign accuses."""
        return np.flatnonzero(self.p[name] < ALPHA)

    def accused(self, y_N: np.ndarray) -> dict[int, str]:
        """Places of examples to look at, with the sign that accuses their class."""
        found: dict[int, str] = {}
        for name in SIGNS:
            for label in self.suspicious(name).tolist():
                rows = np.flatnonzero(y_N == label)
                chosen = {
                    "clustering": self.smaller_N[rows],
                    "spectral": self.scores["spectral"][rows] > 9.0,
                    "neighbours": self.scores["neighbours"][rows] >= STRANGE,
                }[name]
                found |= {place: name for place in rows[chosen].tolist() if place not in found}
        return found


def signs(x_ND: np.ndarray, y_N: np.ndarray, classes: int, *, seed: int = 0) -> Signs:
    """The three signs of all examples; features are standardised first."""
    deviation_D = x_ND.std(0)
    x_ND = np.where(deviation_D > 0, (x_ND - x_ND.mean(0)) / np.where(deviation_D > 0, deviation_D, 1), 0.0)
    scores = {name: np.zeros(len(x_ND)) for name in SIGNS}
    figures = {name: np.full(classes, np.nan) for name in SIGNS}
    smaller_N = np.zeros(len(x_ND), bool)
    scores["neighbours"] = votes(x_ND, y_N)
    for label in range(classes):
        rows = np.flatnonzero(y_N == label)
        if len(rows) < _FEWEST:
            continue
        parts_M, toward_M, silhouette = parted(x_ND[rows], seed=seed)
        smaller_N[rows], scores["clustering"][rows] = parts_M, toward_M
        projected_M = projections(x_ND[rows])
        scores["spectral"][rows] = projected_M
        figures["clustering"][label] = silhouette if parts_M.mean() <= SMALLER else 0.0
        figures["spectral"][label] = float(np.log(np.mean(projected_M**2)))  # the fourth moment: tails, two groups
        figures["neighbours"][label] = float((scores["neighbours"][rows] >= STRANGE).mean())
    rarities = {name: rarity(figure_C) for name, figure_C in figures.items()}
    return Signs(scores=scores, figures=figures, p=rarities, smaller_N=smaller_N)


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


def rarity(figure_C: np.ndarray) -> np.ndarray:
    """How rare each figure is among those of the other classes: one-sided prediction by Student's t, Bonferroni."""
    there = np.flatnonzero(np.isfinite(figure_C))
    p_C = np.ones(len(figure_C))
    if len(there) < _CLASSES:
        return p_C
    for place in there.tolist():
        others = figure_C[there[there != place]]
        width = max(others.std(ddof=1), 0.02) * np.sqrt(1 + 1 / len(others))
        p_C[place] = stats.t.sf((figure_C[place] - others.mean()) / width, len(others) - 1)
    return np.minimum(1, p_C * len(there) * len(SIGNS))
