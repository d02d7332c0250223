"""Abstention: above which confidence a model may answer, so that its answers are right as often as wanted.

    confidence_N, right_N = answered(p_NC, y_N, "single-label")      # out-of-fold probabilities
    abstention = threshold(confidence_N, right_N, accuracy=0.99)
    curve = risk_coverage(confidence_N, right_N)

Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks", 2017, arXiv:1705.08500, by fixed-sequence
testing (Angelopoulos, Bates, Candès, Jordan, Lei, "Learn then Test", 2021, arXiv:2110.01052) in place of their binary
search: from few answers to many, each number of answers is tested by an exact binomial bound, and the first that fails
ends the sequence; two sequences with different beginnings share the error level. So the answers above the threshold
are, with the certainty asked for, right as often as wanted: not on these examples, but on all examples like them. (On
simulated models the promise was broken in 0 to 2 % of the draws at a certainty of 95 %.) That holds for independent
examples (not for groups of them) of equal weight, and for a model as good as the ones that were held out.
Letters: N examples, C classes or labels, K distinct confidences.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from transfuse.core.errors import DataError, UsageError
from transfuse.core.nouns import Kind
from transfuse.core.tables import chosen
from transfuse.measuring.intervals import wilson
from transfuse.measuring.metrics import fitting

Array = NDArray[np.float64]

_GROWTH = 1.1
"""Each number of answers that is tested is a tenth larger than the one before."""


@dataclass(frozen=True, kw_only=True)
class Abstention:
    """A threshold with what is known about the answers above it."""

    threshold: float
    """Answer where the confidence is at least this; infinite when nothing can be promised."""
    wanted: float
    """0..1: accuracy that was asked for."""
    certainty: float
    """0..1: probability with which the accuracy is at least `wanted` on examples like these."""
    accuracy: float
    """0..1: of the answers above the threshold, on these examples; nan when there is none."""
    low: float
    high: float
    """Exact interval of it at the certainty (Clopper and Pearson, 1934)."""
    answered: int
    n: int
    coverage: float
    """0..1: share of the examples that is answered."""
    coverage_low: float
    coverage_high: float
    """Wilson's interval of it, at 95 %."""


@dataclass(frozen=True, kw_only=True)
class RiskCoverage:
    """Share of wrong answers against share of answered examples, most confident first."""

    threshold_K: Array
    coverage_K: Array
    risk_K: Array
    low_K: Array
    high_K: Array
    """Wilson's 95 % interval of each risk by itself."""
    area: float
    """0..1: mean risk over all coverages, ties in random order; lower is better."""
    least_area: float
    """What the area would be if the wrong answers were the least confident ones."""


def answered(p_NC: np.ndarray, y: np.ndarray, kind: Kind) -> tuple[Array, np.ndarray]:
    """How confident (N,) each answer is, and whether (N,) it is right.

    For single-label the largest probability. For multi-label an answer is right when all its labels are, and as
    confident as the least certain of them; labels of one example are not independent, so they count as one.
    """
    if chosen("kind of task", kind, ("single-label", "multi-label", "regression")) == "regression":
        raise UsageError("`kind` must be 'single-label' or 'multi-label', but is 'regression': values are not right.")
    y, p_NC = fitting(kind, y, p_NC)
    if not p_NC.shape[1]:
        raise UsageError("Probabilities must be of at least one class, but there is none.")
    if kind == "single-label":
        return p_NC.max(axis=1).astype(np.float64), p_NC.argmax(axis=1) == y
    return np.maximum(p_NC, 1.0 - p_NC).min(axis=1).astype(np.float64), ((p_NC > 0.5) == (y > 0.5)).all(axis=1)


def threshold(confidence_N: np.ndarray, right_N: np.ndarray, *, accuracy: float, certainty: float = 0.95) -> Abstention:
    """The threshold with the most answers whose accuracy is promised to be at least `accuracy`.

    Args:
        confidence_N: Any number that grows with confidence, of examples that the model was not fitted on.
        right_N: Whether each answer is right.
        accuracy: Between 0 and 1; for a wanted risk give 1 - risk.
        certainty: Between 0 and 1: probability that the promise holds.

    Raises:
        UsageError: Arguments of another form.
        DataError: NaN among the confidences.
    """
    confidence_N, right_N = _checked(confidence_N, right_N)
    for name, value in (("accuracy", accuracy), ("certainty", certainty)):
        if not 0 < value < 1:
            raise UsageError(f"`{name}` must lie between 0 and 1, but is {value}.")
    values_K, counts_K, hits_K = _cumulated(confidence_N, right_N)
    kept = -1
    for sequence in _sequences(counts_K, accuracy, certainty):
        for k in sequence:
            if _least(int(hits_K[k]), int(counts_K[k]), certainty) < accuracy:
                break
            kept = max(kept, k)
    count, hits = (0, 0) if kept < 0 else (int(counts_K[kept]), int(hits_K[kept]))
    coverage_low, coverage_high = wilson(count / len(right_N), len(right_N))
    return Abstention(
        threshold=math.inf if kept < 0 else float(values_K[kept]),
        wanted=accuracy,
        certainty=certainty,
        accuracy=hits / count if count else math.nan,
        low=_least(hits, count, certainty) if count else 0.0,
        high=1.0 - _least(count - hits, count, certainty) if count else 1.0,
        answered=count,
        n=len(right_N),
        coverage=count / len(right_N),
        coverage_low=coverage_low,
        coverage_high=coverage_high,
    )


def needed(accuracy: float, certainty: float = 0.95) -> int:
    """How many answers, all of them right, are needed to promise the accuracy.

    >>> needed(0.99), needed(0.9)
    (368, 36)
    """
    return math.ceil(math.log((1 - certainty) / 2) / math.log(accuracy) - 1e-9)


def risk_coverage(confidence_N: np.ndarray, right_N: np.ndarray) -> RiskCoverage:
    """The curve over every distinct confidence; raises as `threshold` does."""
    confidence_N, right_N = _checked(confidence_N, right_N)
    values_K, counts_K, hits_K = _cumulated(confidence_N, right_N)
    risk_K = 1.0 - hits_K / counts_K
    bounds = np.array([wilson(float(r), int(count)) for r, count in zip(risk_K, counts_K, strict=True)])
    n, wrong = len(right_N), int((~right_N).sum())
    steps = np.arange(1, n + 1)
    return RiskCoverage(
        threshold_K=values_K,
        coverage_K=counts_K / n,
        risk_K=risk_K,
        low_K=bounds[:, 0],
        high_K=bounds[:, 1],
        area=float((np.interp(steps, [0, *counts_K], [0, *(counts_K - hits_K)]) / steps).mean()),
        least_area=float((np.maximum(steps - (n - wrong), 0) / steps).mean()),
    )


def spoken(abstention: Abstention) -> str:
    """The threshold in a sentence."""
    wanted, sure = f"{100 * abstention.wanted:g} %", f"{100 * abstention.certainty:g} %"
    if not abstention.answered:
        few = abstention.n < needed(abstention.wanted, abstention.certainty)
        least = needed(abstention.wanted, abstention.certainty)
        why = (
            f"that needs {least} held-out examples at least" if few else "even the most confident answers err too often"
        )
        return f"No threshold promises {wanted} right answers with {sure} certainty on {abstention.n} examples: {why}."
    return (
        f"Answering where the confidence is at least {abstention.threshold:.3f} covers "
        f"{100 * abstention.coverage:.1f} % of the examples "
        f"({100 * abstention.coverage_low:.1f} to {100 * abstention.coverage_high:.1f}); "
        f"{100 * abstention.accuracy:.1f} % of {abstention.answered} answers were right, "
        f"and at least {wanted} will be, with {sure} certainty."
    )


def _checked(confidence_N: np.ndarray, right_N: np.ndarray) -> tuple[Array, np.ndarray]:
    confidence_N, right_N = np.asarray(confidence_N, dtype=np.float64), np.asarray(right_N)
    if confidence_N.ndim != 1 or right_N.shape != confidence_N.shape or not len(right_N):
        raise UsageError(
            f"`confidence` and `right` must be one entry an example, but have shapes {confidence_N.shape} and "
            f"{right_N.shape}."
        )
    if not np.isin(right_N, (0, 1)).all():
        raise UsageError("`right` must be True or False for every example, but holds other values.")
    if np.isnan(confidence_N).any():
        raise DataError(
            f"Confidences must be numbers, but {int(np.isnan(confidence_N).sum())} are NaN: leave those examples out."
        )
    return confidence_N, right_N.astype(bool)


def _cumulated(confidence_N: Array, right_N: np.ndarray) -> tuple[Array, np.ndarray, np.ndarray]:
    """Distinct confidences, highest first, how many examples have at least that, and how many of those are right."""
    order = np.argsort(-confidence_N, kind="stable")
    sorted_N = confidence_N[order]
    last_K = np.append(np.flatnonzero(sorted_N[1:] != sorted_N[:-1]), len(sorted_N) - 1)
    return sorted_N[last_K], last_K + 1, np.cumsum(right_N[order])[last_K]


def _sequences(counts_K: np.ndarray, accuracy: float, certainty: float) -> list[list[int]]:
    """Which thresholds are tested, in order: decided by the confidences alone, never by what is right.

    One sequence begins where a perfect record would just do; the other at the geometric middle between that and all
    examples, so that one early slip does not end everything.
    """
    n = int(counts_K[-1])
    fewest = min(needed(accuracy, certainty), n)
    return [_rounds(counts_K, start, n) for start in (fewest, math.sqrt(fewest * n))]


def _rounds(counts_K: np.ndarray, start: float, n: int) -> list[int]:
    rounds = max(1, math.ceil(math.log(n / start) / math.log(_GROWTH)))
    wanted = start * (n / start) ** (np.arange(rounds + 1) / rounds)
    return sorted({int(k) for k in np.searchsorted(counts_K, np.floor(wanted + 1e-9))})


def _least(hits: int, count: int, certainty: float) -> float:
    """The lower end of the exact interval of a share (Clopper and Pearson)."""
    return float(beta.ppf((1 - certainty) / 2, hits, count - hits + 1)) if hits else 0.0
