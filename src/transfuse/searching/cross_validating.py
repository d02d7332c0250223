"""K-fold cross-validation of any function, with an interval that knows that the folds share their training examples.

Standard error: Nadeau and Bengio, "Inference for the Generalization Error", Machine Learning 52, 2003: the variance
between folds is multiplied by 1/K + (held out)/(trained on), because the plain 1/K is much too small. Folds come from
`probing/folds.py` (stratified, groups whole), or from anywhere else. Letters: N examples, K folds.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student

from transfuse.core.errors import UsageError
from transfuse.searching.search import Report, Score
from transfuse.searching.space import Options

Rows = np.ndarray
FoldScore = Callable[[Rows, Rows], float]
"""(rows to train on, rows held out) -> score."""


@dataclass(frozen=True, kw_only=True)
class CrossValidated:
    """The mean score of the folds."""

    value: float
    low: float
    high: float
    """95 % interval of what training on as many examples would score; infinitely wide for one fold."""
    n: int
    """Number of examples, each held out once."""
    scores: tuple[float, ...]
    """One a fold."""


def cross_validate(score: FoldScore, fold_N: np.ndarray, *, level: float = 0.95) -> CrossValidated:
    """Score every fold by what is learnt from the others.

    Args:
        score: Called once a fold with int64 rows to train on and rows held out, both in order.
        fold_N: The fold of every example, 0..K-1, K of 2 or more; from `probing.folds.assign_folds`.
        level: 0..1, of the interval.

    Raises:
        UsageError: Fewer than two folds, or an empty one.
    """
    folds = split(fold_N)
    scores = [float(score(train, held)) for train, held in folds]
    mean = float(np.mean(scores))
    k, n = len(folds), len(fold_N)
    variance = float(np.var(scores, ddof=1)) * (1 / k + 1 / (k - 1))
    half = float(student.ppf(0.5 + level / 2, k - 1)) * math.sqrt(variance)
    return CrossValidated(value=mean, low=mean - half, high=mean + half, n=n, scores=tuple(scores))


def over_folds(score: Callable[[Options, int, Rows, Rows], float], fold_N: np.ndarray) -> Score:
    """A score for `search` that is the mean over folds; reported after each, so that a poor start ends the trial.

    Args:
        score: (options, effort, rows to train on, rows held out) -> score of one fold, where the effort is a K-th of
            the trial's, which must be K or more.
        fold_N: As in `cross_validate`.
    """
    folds = split(fold_N)

    def mean(options: Options, effort: int, report: Report) -> float:
        each, scores = effort // len(folds), list[float]()
        if not each:
            raise UsageError(f"`effort` must be at least the number of folds ({len(folds)}), but is {effort}.")
        for number, (train, held) in enumerate(folds, 1):
            scores.append(float(score(options, each, train, held)))
            report(effort if number == len(folds) else number * each, float(np.mean(scores)))
        return float(np.mean(scores))

    return mean


def split(fold_N: np.ndarray) -> list[tuple[Rows, Rows]]:
    """(rows to train on, rows held out) of every fold; raises `UsageError` where a fold is empty or the only one."""
    fold_N = np.asarray(fold_N)
    if fold_N.ndim != 1 or fold_N.dtype.kind not in "iu" or not len(fold_N) or fold_N.min() < 0:
        raise UsageError(f"`fold` must be whole numbers from 0, one an example, but is {fold_N.dtype} {fold_N.shape}.")
    counts = np.bincount(fold_N)
    if len(counts) < 2 or not counts.all():
        raise UsageError(f"`fold` must have two folds or more and none empty, but their sizes are {counts.tolist()}.")
    return [(np.flatnonzero(fold_N != k), np.flatnonzero(fold_N == k)) for k in range(len(counts))]
