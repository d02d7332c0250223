"""Do the parents share a base? From samples of their largest matrices, before anything is merged.

Fine-tunes of one network point in nearly its direction (cosine near 1, differences of a few per cent); networks that
were trained apart do not (cosine near 0), and their mean is noise. Vectors, such as the gains of normalisations, are
alike in all networks and say nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

import numpy as np

from transfuse.core.errors import WeightsError
from transfuse.fusing.planning import Plan
from transfuse.weights.headers import Entry
from transfuse.weights.pieces import Files, Stream, floats

UNRELATED, DOUBTFUL = 0.2, 0.7
"""Median cosines below which parents are refused, and below which that is worth a warning."""
_TENSORS, _WINDOWS, _WINDOW = 48, 8, 1024


@dataclass(frozen=True, kw_only=True)
class Kinship:
    """How two checkpoints are related."""

    a: str
    b: str
    cosine: float
    """Median over tensors of the cosine between their weights."""
    distance: float
    """Median over tensors of |a - b| / |b|."""
    tensors: int


def kinships(plan: Plan, names: Sequence[str], base: str | None) -> list[Kinship]:
    """Every parent against the base, or every pair of parents. `names` of the parents, in the plan's order."""
    works = [w for w in plan.works if w.fate == "merged" and len(w.entries) == len(names)]
    matrices = [w for w in works if len(w.shape) >= 2] or works
    chosen = sorted(matrices, key=lambda w: -w.nbytes)[:_TENSORS]
    with Files() as files:
        samples = [[_sample(w.entries[i], files) for w in chosen] for i in range(len(names))]
        bases = [w.base for w in chosen if w.base is not None]
        rooted = [_sample(entry, files) for entry in bases] if base and len(bases) == len(chosen) else None
    if not chosen:
        return []
    if rooted is not None and base is not None:
        return [_compared(name, base, sample, rooted) for name, sample in zip(names, samples, strict=True)]
    pairs = combinations(range(len(names)), 2)
    return [_compared(names[i], names[j], samples[i], samples[j]) for i, j in pairs]


def _sample(entry: Entry, files: Files) -> np.ndarray:
    stream = Stream(entry, files)
    windows = [(0, entry.count)]
    if entry.count > _WINDOWS * _WINDOW:
        step = (entry.count - _WINDOW) // (_WINDOWS - 1)
        windows = [(i * step, i * step + _WINDOW) for i in range(_WINDOWS)]
    try:
        return np.concatenate([floats(stream.elements(*window), entry.dtype) for window in windows])
    except WeightsError as error:
        raise stream.told(error) from None


def _compared(a: str, b: str, xs: Sequence[np.ndarray], ys: Sequence[np.ndarray]) -> Kinship:
    cosines, distances = [], []
    for x, y in zip(xs, ys, strict=True):
        norms = float(np.linalg.norm(x)), float(np.linalg.norm(y))
        if min(norms) > 0:
            cosines.append(float(x @ y) / (norms[0] * norms[1]))
            distances.append(float(np.linalg.norm(x - y)) / norms[1])
    if not cosines:
        return Kinship(a=a, b=b, cosine=1.0, distance=0.0, tensors=0)
    return Kinship(a=a, b=b, cosine=median(cosines), distance=median(distances), tensors=len(cosines))


def require_related(found: Sequence[Kinship]) -> None:
    """Raise `WeightsError` for parents that were trained apart."""
    for pair in found:
        if pair.cosine < UNRELATED:
            raise WeightsError(
                f"Parents must come from one network, but '{pair.a}' and '{pair.b}' are unrelated:"
                f" their weights have a cosine of {pair.cosine:.2f} (median over {pair.tensors} tensors)."
                " Align them (--align weights, or --align activations with --on DATA) or say --force."
            )
