"""Logistic regression, multinomial or a binary problem a column: whole paths, all folds at once, certified.

For rows x_n with weights w that sum to 1, it minimises
    F(V, b) = sum_n w_n loss(t_n, (x_n / scale)·V + b) + strength / 2 ||V||^2
with the softmax cross-entropy, or the sum over columns of binary ones. This is scikit-learn's objective for x / scale,
divided by the sum of the weights, with `C = 1 / (strength · N)`. (For two classes scikit-learn fits one difference
vector d = v_1 - v_0 instead; the optimum is the same with half the strength.)
Every fit comes with a certificate, computed in float64: a bound on (F - min F) / min F, from the duality gap.
How it is solved: `solving.py` (the path), `searching.py` (L-BFGS), `surveys.py` (certificates), `passes.py` (odds and
gradients), `rows.py` (coordinates). Sibling: `ridge.py`, which has another loss in the same metric.
Letters: N examples, D features, C classes or labels, J strengths, K folds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from transfuse.core.nouns import Kind
from transfuse.core.tables import chosen
from transfuse.probing.logistic.rows import NONE_HELD, Rows, make_rows, with_problems
from transfuse.probing.logistic.solving import solve_path
from transfuse.sources.precision import has_native_bfloat16

Array = NDArray[np.float64]
Precision = Literal["auto", "float32", "bfloat16"]

STRENGTHS: tuple[float, ...] = tuple(float(s) for s in np.logspace(1, -5, 13))
_ROUGH = 1e-5
"""Tolerances down to which the search may be in less than float64."""


@dataclass(frozen=True, kw_only=True)
class LogisticPoint:
    """What cross-validation needs of one strength, and where a fit to all rows can start."""

    strength: float
    held_NC: NDArray[np.float32]
    """Logits of every example from the fold that left it out; 0 where that fold had nothing to learn from. The next
    strength reuses it: copy what is to be kept."""
    certificate_K: Array
    """Bounds on how far each fit's objective is above its optimum, relative to the optimum."""
    weight_CD: Array
    bias_C: Array
    """Means of the folds' heads, on the features as given."""
    surveys: int
    """Exact passes over the rows so far."""
    passes: float
    """Cheap passes over the rows so far."""


@dataclass(frozen=True, kw_only=True)
class LogisticPath:
    """The strengths in turn. They are solved as they are asked for, so that the logits of one are held at a time."""

    points: Iterator[LogisticPoint]
    rows: Rows
    """The examples, prepared."""


@dataclass(frozen=True, kw_only=True)
class LogisticFit:
    """A head on the features as given."""

    weight_CD: Array
    bias_C: Array
    certificate: float
    """Bound on how far the objective is above its optimum, relative to the optimum."""
    surveys: int
    passes: float


def logistic_cv(
    x_ND: np.ndarray,
    targets_NC: np.ndarray,
    weights_N: np.ndarray,
    fold_N: np.ndarray,
    kind: Kind,
    *,
    scale_D: np.ndarray | None = None,
    strengths: Sequence[float] = STRENGTHS,
    tolerance: float = 1e-4,
    precision: Precision = "auto",
) -> LogisticPath:
    """Fit every strength without every fold, strongest first, as the path is read.

    A column with one value only among the rows of positive weight has no finite optimum: its slope is 0 and its
    intercept the log-odds of half a counter-example.

    Args:
        x_ND: Finite numbers; may be memory-mapped, and is read in blocks.
        targets_NC: 0/1; one-hot rows for single-label.
        weights_N: Not negative, with a positive sum.
        fold_N: 0 ... K - 1.
        kind: `single-label` or `multi-label`.
        scale_D: The metric of the penalty; None for the standard deviations over all rows (of the features only,
            labels that are held out are not seen).
        strengths: Strongest first.
        tolerance: Largest certified relative gap to the optimal objective.
        precision: Of the search, not of its certificate; `auto` is bfloat16 where the processor multiplies it.
    """
    weights_N, dtype = np.asarray(weights_N, dtype=np.float64), _dtype(precision, tolerance)
    rows = make_rows(x_ND, targets_NC, weights_N, fold_N, kind, scale_D=scale_D, dtype=dtype)
    return LogisticPath(points=_points(rows, strengths, tolerance), rows=rows)


def _points(rows: Rows, strengths: Sequence[float], tolerance: float) -> Iterator[LogisticPoint]:
    for strength, found in zip(strengths, solve_path(rows, _first(rows), strengths, tolerance), strict=True):
        weight_KCD, bias_KC = _unfolded(rows, found.known.slope_KCP)
        yield LogisticPoint(
            strength=strength,
            held_NC=found.known.held_NC.numpy(),
            certificate_K=found.certificate_K.numpy(),
            weight_CD=weight_KCD.mean(axis=0),
            bias_C=bias_KC.mean(axis=0),
            surveys=found.surveys,
            passes=found.passes,
        )


def logistic_fit(
    x_ND: np.ndarray,
    targets_NC: np.ndarray,
    weights_N: np.ndarray,
    kind: Kind,
    *,
    scale_D: np.ndarray | None = None,
    strengths: Sequence[float] = STRENGTHS,
    tolerance: float = 1e-6,
    precision: Precision = "auto",
    start: tuple[np.ndarray, np.ndarray] | None = None,
    like: LogisticPath | None = None,
) -> LogisticFit:
    """Fit all rows at the last of the strengths; the ones before it, or a `start`, warm it up.

    Args:
        start: Weights (C, D) and bias (C,) to begin with: those of a `LogisticPoint`.
        like: A path over the same examples, targets, weights and scale, whose preparations are used again.

    The other arguments are those of `logistic_cv`.
    """
    dtype = _dtype(precision, tolerance)
    if like is None or like.rows.dtype is not dtype:
        weights_N, nowhere_N = np.asarray(weights_N, dtype=np.float64), np.zeros(len(x_ND), dtype=np.int64)
        rows = make_rows(x_ND, targets_NC, weights_N, nowhere_N, kind, scale_D=scale_D, dtype=dtype)
    else:
        rows = like.rows
    rows = with_problems(rows, (NONE_HELD,))
    *_, found = solve_path(rows, _first(rows, start), strengths if start is None else strengths[-1:], tolerance)
    weight_KCD, bias_KC = _unfolded(rows, found.known.slope_KCP)
    return LogisticFit(
        weight_CD=weight_KCD[0],
        bias_C=bias_KC[0],
        certificate=float(found.certificate_K[0]),
        surveys=found.surveys,
        passes=found.passes,
    )


def _dtype(precision: Precision, tolerance: float) -> torch.dtype:
    """Of the search."""
    chosen("precision", precision, ("auto", "float32", "bfloat16"))
    if tolerance < _ROUGH:
        return torch.float64
    if precision == "auto":
        precision = "bfloat16" if has_native_bfloat16(torch.device("cpu")) else "float32"
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def _first(rows: Rows, start: tuple[np.ndarray, np.ndarray] | None = None) -> Tensor:
    """Slopes to start at: those given, or none and the log-odds of the shares; constants where there is no optimum."""
    odds_KC = rows.share_KC.clamp(1e-300, 1.0).log()
    if rows.kind == "multi-label":
        odds_KC -= (1.0 - rows.share_KC).clamp_min(1e-300).log()
    slope_KCP = torch.zeros(*odds_KC.shape, len(rows.value_P), dtype=torch.float64)
    slope_KCP[..., -1] = odds_KC
    if start is not None:
        weight_CD, bias_C = (torch.from_numpy(np.asarray(part, dtype=np.float64)) for part in start)
        scale_D = torch.where(rows.inverse_D > 0, 1.0 / rows.inverse_D, 0.0)
        slope_KCP[..., :-1] = (weight_CD * scale_D) @ rows.vectors_DR
        slope_KCP[..., -1] = bias_C + weight_CD @ rows.mean_D
    constant_KC = (2.0 * rows.count_K[:, None] + 1.0).log() * torch.where(rows.share_KC > 0, 1.0, -1.0)
    slope_KCP[~rows.live_KC] = 0.0
    slope_KCP[..., -1] = torch.where(rows.live_KC, slope_KCP[..., -1], constant_KC)
    return slope_KCP


def _unfolded(rows: Rows, slope_KCP: Tensor) -> tuple[Array, Array]:
    """Weights (K, C, D) and biases (K, C) on the features as given."""
    weight_KCD = slope_KCP[..., :-1] @ rows.vectors_DR.T * rows.inverse_D
    return weight_KCD.numpy(), (slope_KCP[..., -1] - weight_KCD @ rows.mean_D).numpy()
