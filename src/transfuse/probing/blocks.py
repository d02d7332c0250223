"""Which blocks of features to join, in which order, and where to stop: forward choice by the evidence of a ridge head.

Starting from none, the block joins whose evidence is the greatest together with those that joined before, until no
block raises it. The evidence is that of LogME (You et al., 2021, arXiv:2102.11005; see `evidence.py`) with an intercept
and with one strength a block, shared by all targets, in the manner of MacKay's automatic relevance determination
("Bayesian Interpolation", Neural Computation 4, 1992). Each candidate is tried at its own best strength: a block that
repeats what is known, or is noise, gets no weight, and then the evidence cannot rise.

All of it is one Cholesky factorisation by blocks, pivoted by evidence: what the joined blocks explain is taken out of
the others' Gram matrices (Schur complements), so that a candidate costs a factorisation of its own size only. Siblings:
`block_strengths.py` tunes the strengths by cross-validation, `block_gains.py` says what each block buys out of fold.
Letters: D features, C targets, B features of one block, E features joined so far and the intercept.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas, lapack

from transfuse.core.errors import UsageError
from transfuse.probing.block_statistics import (
    GREATEST,
    columns_of,
    least_strength,
    precision_of,
    variance_D,
    varying_C,
)
from transfuse.probing.moments import Moments

Array = NDArray[np.float64]

_START, _STEP = np.log(0.1), np.log(4.0)
_NOISE = 1e-9
"""Least share of a target's variance that is taken to be noise."""


@dataclass(frozen=True, kw_only=True)
class Step:
    """One block that joined."""

    block: str
    strength: float
    """Of the penalty on the block's standardised features, as in `ridge.py`; the best one when it joined."""
    evidence: float
    """Log evidence per example, mean over targets, of this block and those before."""
    gains: Mapping[str, float]
    """By how much each block that was left would have raised the log evidence of all examples and targets."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The blocks that joined, in order, and those that did not."""

    steps: tuple[Step, ...]
    rejected: Mapping[str, float]
    """Blocks left out, with the rise of the log evidence that each would have brought at the end."""
    baseline: float
    """Log evidence per example of the intercept alone."""


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    """A block that has not joined; what has joined is taken out of it."""

    columns: slice
    schur_BB: np.ndarray
    """Fortran order; only the upper triangle counts."""
    right_BC: np.ndarray
    penalty_B: Array
    """At strength 1."""
    rows_DB: np.ndarray
    """The factor's rows over this block, of which the first E are filled."""


@dataclass(frozen=True, kw_only=True)
class _Known:
    """What has joined says."""

    weight: float
    noise_C: Array
    """Squares that are left of each target."""
    least_C: Array
    log_volume: float = 0.0


@dataclass(frozen=True, kw_only=True)
class _Trial:
    """A candidate at one strength."""

    factor_BB: np.ndarray
    solution_BC: np.ndarray
    known: _Known


def choose_blocks(moments: Moments, widths: Mapping[str, int], *, most: int | None = None) -> Choice:
    """Order the blocks by what they add to the evidence, and stop when none adds any.

    A block joins when it raises the log evidence of all examples and targets by more than half the logarithm of the
    number of examples, the price of its strength (Schwarz, "Estimating the Dimension of a Model", 1978). Features are
    scaled by their standard deviation over all rows of the statistics. Statistics that were summed in float32 are
    factored in float32.

    Args:
        moments: Statistics of the blocks' features side by side.
        widths: Number of features of each block by name, in the order of the columns.
        most: Join no more than so many blocks; None for no bound.

    Raises:
        UsageError: Widths that do not add up to the features.
        DataError: Fewer than 3 examples, or targets of which none varies.
    """
    if most is not None and most < 1:
        raise UsageError(f"`most` must be 1 or more, but is {most}.")
    left, known = _start(moments, columns_of(widths, len(moments.sum_D)))
    span = (float(np.log(least_strength(moments))), float(np.log(GREATEST)))
    at, joined = dict.fromkeys(left, float(_START)), 1
    steps: list[Step] = []
    gains: dict[str, float] = {}
    baseline, price, scale = _evidence(known), 0.5 * np.log(known.weight), known.weight * len(known.noise_C)
    while left:
        tried = {name: _best(_evidence_of(c, known), at[name], span) for name, c in left.items()}
        gains = {name: (value - _evidence(known)) * scale for name, (_, value) in tried.items()}
        at.update({name: log_strength for name, (log_strength, _) in tried.items()})
        name = max(gains, key=lambda n: gains[n])
        trial = _trial(left[name], known, at[name])
        if trial is None or gains[name] <= price or len(steps) == most:
            break
        known = trial.known
        steps.append(Step(block=name, strength=float(np.exp(at[name])), evidence=_evidence(known), gains=gains))
        chosen = left.pop(name)
        left = {n: _without(c, chosen, trial, moments.gram_DD, joined) for n, c in left.items()}
        joined += len(chosen.penalty_B)
    return Choice(steps=tuple(steps), rejected={name: gains[name] for name in left}, baseline=baseline)


def _start(moments: Moments, columns: Mapping[str, slice]) -> tuple[dict[str, _Candidate], _Known]:
    """All blocks as candidates, with the intercept taken out: it is the factor's first row."""
    varies_C, dtype, n = varying_C(moments), precision_of(moments), moments.weight
    mean_C = moments.target_sum_C / n
    noise_C = (moments.target_squares_C - n * mean_C**2)[varies_C]
    right_DC = (moments.cross_DC - np.outer(moments.sum_D, mean_C))[:, varies_C]
    penalty_D = n * variance_D(moments)
    candidates = {}
    for name, at in columns.items():
        rows_DB = np.empty((1 + len(moments.sum_D), at.stop - at.start), dtype)
        rows_DB[0] = moments.sum_D[at] / np.sqrt(n)
        schur_BB = moments.gram_DD[at, at] - np.outer(moments.sum_D[at] / n, moments.sum_D[at])
        candidates[name] = _Candidate(
            columns=at,
            schur_BB=np.asfortranarray(schur_BB, dtype),
            right_BC=np.asfortranarray(right_DC[at], dtype),
            penalty_B=penalty_D[at],
            rows_DB=rows_DB,
        )
    return candidates, _Known(weight=n, noise_C=noise_C, least_C=_NOISE * noise_C)


def _evidence(known: _Known) -> float:
    """Log evidence per example, mean over targets, with the noise of each target and the intercept profiled out."""
    n, free = known.weight, known.weight - 1.0
    noise_C = np.maximum(known.noise_C, known.least_C)
    fit_C = -0.5 * free / n * (np.log(2.0 * np.pi * noise_C / free) + 1.0)
    return float(fit_C.mean()) - 0.5 * known.log_volume / n


def _evidence_of(candidate: _Candidate, known: _Known) -> Callable[[float], float]:
    def evidence(log_strength: float) -> float:
        trial = _trial(candidate, known, log_strength)
        return -np.inf if trial is None else _evidence(trial.known)

    return evidence


def _trial(candidate: _Candidate, known: _Known, log_strength: float) -> _Trial | None:
    """The candidate joined at this strength; None where rounding makes its matrix indefinite."""
    potrf = lapack.get_lapack_funcs("potrf", (candidate.schur_BB,))
    trsm = blas.get_blas_funcs("trsm", (candidate.schur_BB,))
    penalty_B = np.exp(log_strength) * candidate.penalty_B
    matrix_BB = candidate.schur_BB.copy(order="F")
    matrix_BB[np.diag_indices(len(matrix_BB))] += penalty_B
    factor_BB, failed = potrf(matrix_BB, lower=0, clean=0, overwrite_a=1)
    if failed:
        return None
    solution_BC = trsm(1.0, factor_BB, candidate.right_BC, lower=0, trans_a=1)
    log_volume = 2.0 * np.log(factor_BB.diagonal().astype(np.float64)).sum() - np.log(penalty_B).sum()
    explained_C = np.einsum("bc,bc->c", solution_BC, solution_BC, dtype=np.float64)
    after = replace(known, noise_C=known.noise_C - explained_C, log_volume=known.log_volume + float(log_volume))
    return _Trial(factor_BB=factor_BB, solution_BC=solution_BC, known=after)


def _best(evidence: Callable[[float], float], start: float, span: tuple[float, float]) -> tuple[float, float]:
    """The best log strength and its evidence: uphill in growing steps, then to the vertex of a parabola, twice."""
    known = {start: evidence(start)}
    for sign in (1.0, -1.0):
        here, step = start, _STEP
        while span[0] <= here + sign * step <= span[1]:
            there = here + sign * step
            known[there] = evidence(there)
            if known[there] <= known[here]:
                break
            here, step = there, 1.5 * step
        if here != start:
            break
    for _ in range(2):
        points = sorted(known)
        best = max(range(len(points)), key=lambda i: known[points[i]])
        if 0 < best < len(points) - 1 and (vertex := _vertex(points[best - 1 : best + 2], known)) is not None:
            known[vertex] = evidence(vertex)
    log_strength = max(known, key=lambda t: known[t])
    return log_strength, known[log_strength]


def _vertex(points: list[float], values: Mapping[float, float]) -> float | None:
    """Where the parabola through three points, the middle one highest, has its top."""
    left, middle, right = points
    rise = (values[middle] - values[left]) / (middle - left)
    fall = (values[right] - values[middle]) / (right - middle)
    if not np.isfinite(rise - fall) or rise <= fall:
        return None
    return float(0.5 * (left + middle) + 0.5 * (right - left) * rise / (rise - fall))


def _without(other: _Candidate, chosen: _Candidate, trial: _Trial, gram_DD: Array, joined: int) -> _Candidate:
    """Another candidate once the chosen one has joined: the next rows of the factor are taken out of it."""
    trsm, syrk = blas.get_blas_funcs(("trsm", "syrk"), (other.schur_BB,))
    mixed_BB = np.subtract(
        gram_DD[chosen.columns, other.columns],
        chosen.rows_DB[:joined].T @ other.rows_DB[:joined],
        dtype=np.float64,
    ).astype(other.schur_BB.dtype, copy=False)
    # transposed, so that a C-ordered array is LAPACK's own
    rows_BB = trsm(1.0, trial.factor_BB, mixed_BB.T, side=1, lower=0, overwrite_b=1)
    other.rows_DB[joined : joined + len(mixed_BB)] = rows_BB.T
    return replace(
        other,
        schur_BB=syrk(-1.0, rows_BB, beta=1.0, c=other.schur_BB, overwrite_c=1),
        right_BC=np.asfortranarray(other.right_BC - rows_BB @ trial.solution_BC),
    )
