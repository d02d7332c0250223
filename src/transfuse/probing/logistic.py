"""Logistic regression, multinomial or one binary problem a column, along a path of strengths.

For rows z_n with weights w that sum to 1, it minimises
    F(V, b) = sum_n w_n loss(t_n, z_n·V + b) + strength / 2 ||V||^2
with the softmax cross-entropy, or the sum over columns of binary ones. This is scikit-learn's objective divided by
the sum of the weights, with `C = 1 / (strength · N)`. (For two classes scikit-learn fits one difference vector
d = v_1 - v_0 instead; the optimum is the same with half the strength.)
Method: L-BFGS (Nocedal and Wright, "Numerical Optimization", algorithm 7.4), preconditioned by the Hessian's diagonal
in the eigenbasis, p_c (1 - p_c) value_r + strength, with each strength started on the line through the two before.
The forward product of a direction is kept, so that its line search costs no further pass over the rows.
Letters: N examples, R directions, P = R + 1 with the intercept, C classes, J strengths.
"""

from collections import deque
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from transfuse.core.nouns import Kind

Array = NDArray[np.float64]
LossAndResidual = Callable[[Array], tuple[float, Array]]
"""Logits (C, N) -> the weighted mean loss, and its derivative by the logits (C, N)."""

STRENGTHS: tuple[float, ...] = tuple(float(s) for s in np.logspace(1, -5, 13))
_MEMORY = 12
_ITERATIONS = 2000
_SUFFICIENT, _CURVATURE = 1e-4, 0.5  # of the Wolfe conditions


def logistic_path(
    z_NR: Array,
    values_R: Array,
    targets_NC: Array,
    weights_N: Array,
    kind: Kind,
    strengths: tuple[float, ...] = STRENGTHS,
    tolerance: float = 1e-5,
) -> tuple[Array, Array]:
    """Slopes (J, R, C) and intercepts (J, C) for every strength, strongest first.

    Args:
        targets_NC: 0/1; one-hot rows for single-label.
        kind: `single-label` or `multi-label`.
        tolerance: Largest relative gap to the optimal objective, by the bound ||gradient||^2 / (2 strength F).

    A column with one value only among rows of positive weight has no finite optimum: its slope is 0 and its
    intercept the log-odds of half a counter-example.
    """
    share_N = weights_N / weights_N.sum()
    count = int((share_N > 0).sum())
    positive_C = (targets_NC[share_N > 0] > 0).sum(axis=0)
    live_C = (positive_C > 0) & ((positive_C < count) | (kind == "single-label"))
    slopes_JRC = np.zeros((len(strengths), z_NR.shape[1], targets_NC.shape[1]))
    intercepts_JC = np.tile(np.where(positive_C > 0, 1.0, -1.0) * np.log(2.0 * count + 1.0), (len(strengths), 1))
    if not live_C.any():
        return slopes_JRC, intercepts_JC
    rows = share_N > 0
    a_PN = np.concatenate([z_NR[rows].T, np.ones((1, count))])
    value_P = np.append(values_R, 1.0)
    loss = _loss_function(targets_NC[rows][:, live_C].T, share_N[rows], kind)
    solutions = _solve_path(a_PN, value_P, loss, int(live_C.sum()), strengths, tolerance)
    for j, v_CP in enumerate(solutions):
        slopes_JRC[j][:, live_C] = v_CP[:, :-1].T
        intercepts_JC[j, live_C] = v_CP[:, -1]
    return slopes_JRC, intercepts_JC


def _loss_function(t_CN: Array, share_N: Array, kind: Kind) -> LossAndResidual:
    """The loss over logits with classes leading: numpy reduces over a leading axis several times faster."""
    t_CN = np.ascontiguousarray(t_CN)

    def softmax(l_CN: Array) -> tuple[float, Array]:
        top_N = l_CN.max(axis=0)
        e_CN = np.exp(l_CN - top_N)
        total_N = e_CN.sum(axis=0)
        true_N = np.einsum("cn,cn->n", t_CN, l_CN)
        e_CN /= total_N
        e_CN -= t_CN
        e_CN *= share_N
        return float(share_N @ (top_N + np.log(total_N) - true_N)), e_CN

    def sigmoid(l_CN: Array) -> tuple[float, Array]:
        signed_CN = np.where(t_CN > 0, -l_CN, l_CN)
        loss_CN = np.logaddexp(0.0, signed_CN)
        p_CN = np.exp(-np.logaddexp(0.0, -l_CN))
        return float((loss_CN @ share_N).sum()), (p_CN - t_CN) * share_N

    return sigmoid if kind == "multi-label" else softmax


def _solve_path(
    a_PN: Array, value_P: Array, loss: LossAndResidual, columns: int, strengths: tuple[float, ...], tolerance: float
) -> list[Array]:
    """One solution (C, P) a strength; each starts from what the two before it predict."""
    solutions: list[Array] = []
    for strength in strengths:
        penalty_P = np.append(np.full(len(value_P) - 1, strength), 0.0)
        start = solutions[-1] if solutions else np.zeros((columns, len(value_P)))
        if len(solutions) > 1:
            guess = 2.0 * solutions[-1] - solutions[-2]
            start = min(start, guess, key=lambda v: loss(v @ a_PN)[0] + 0.5 * float((v**2 @ penalty_P).sum()))
        solutions.append(_minimise(start, a_PN, value_P, loss, penalty_P, tolerance))
    return solutions


def _minimise(
    v_CP: Array, a_PN: Array, value_P: Array, loss: LossAndResidual, penalty_P: Array, tolerance: float
) -> Array:
    """Preconditioned L-BFGS from `v_CP` until the certified relative gap is at most `tolerance`."""
    l_CN = v_CP @ a_PN
    value, residual_CN = loss(l_CN)
    gradient = residual_CN @ a_PN.T + v_CP * penalty_P
    inverse_CP = _preconditioner(residual_CN, value_P, penalty_P)
    scale_P = 1.0 / (2.0 * np.where(penalty_P > 0, penalty_P, 0.1))
    history: deque[tuple[Array, Array, float]] = deque(maxlen=_MEMORY)
    for _ in range(_ITERATIONS):
        objective = value + 0.5 * float((v_CP**2 @ penalty_P).sum())
        if float((gradient**2 @ scale_P).sum()) <= tolerance * objective:
            break
        direction = -_two_loop(gradient, history, inverse_CP)
        slope = float((gradient * direction).sum())
        if slope >= 0:  # rounding has spoilt the memory
            history.clear()
            direction, slope = -gradient * inverse_CP, -float((gradient**2 * inverse_CP).sum())
        found = _line_search(v_CP, l_CN, direction, direction @ a_PN, objective, slope, loss, penalty_P)
        if found is None:  # no further decrease in float64
            break
        step, l_CN, value, residual_CN = found
        moved = step * direction
        v_CP = v_CP + moved
        changed = -gradient
        gradient = residual_CN @ a_PN.T + v_CP * penalty_P
        changed += gradient
        curvature = float((moved * changed).sum())
        if curvature > 0:
            history.append((moved, changed, curvature))
    return v_CP


def _preconditioner(residual_CN: Array, value_P: Array, penalty_P: Array) -> Array:
    """Inverse of the Hessian's diagonal, (C, P), with a curvature per class read off the residuals.

    mean |p - t| is at most twice p (1 - p) in the mean for a calibrated p, and does not vanish where p does.
    """
    curvature_C = np.maximum(0.5 * np.abs(residual_CN).sum(axis=1), 1e-4)
    return 1.0 / (curvature_C[:, None] * value_P + penalty_P)


def _two_loop(gradient: Array, history: deque[tuple[Array, Array, float]], inverse: Array) -> Array:
    """The quasi-Newton step: two-loop recursion around the diagonal preconditioner."""
    q = gradient.copy()
    coefficients = []
    for moved, changed, curvature in reversed(history):
        coefficients.append(float((moved * q).sum()) / curvature)
        q -= coefficients[-1] * changed
    if history:
        _, changed, curvature = history[-1]
        inverse = inverse * (curvature / float((changed**2 * inverse).sum()))
    q *= inverse
    for (moved, changed, curvature), coefficient in zip(history, reversed(coefficients), strict=True):
        q += (coefficient - float((changed * q).sum()) / curvature) * moved
    return q


def _line_search(
    v_CP: Array,
    l_CN: Array,
    direction: Array,
    change_CN: Array,
    objective: float,
    slope: float,
    loss: LossAndResidual,
    penalty_P: Array,
) -> tuple[float, Array, float, Array] | None:
    """A step that meets the Wolfe conditions, with logits, loss and residual there; None where none decreases.

    The objective along the line is convex, so that its slope brackets the minimum.
    """
    low, high, step = 0.0, np.inf, 1.0
    quadratic = float((direction**2 @ penalty_P).sum())
    linear = float(((v_CP * direction) @ penalty_P).sum())
    start = objective - 0.5 * float((v_CP**2 @ penalty_P).sum())
    rounding = 1e-14 * abs(objective)
    for _ in range(40):
        at_CN = l_CN + step * change_CN
        value, residual_CN = loss(at_CN)
        gain = value - start + step * linear + 0.5 * step**2 * quadratic
        here = float((residual_CN * change_CN).sum()) + linear + step * quadratic
        if abs(here) <= _CURVATURE * abs(slope) and gain <= _SUFFICIENT * step * slope + rounding:
            return step, at_CN, value, residual_CN
        low, high = (step, high) if here < 0 else (low, step)
        secant = step * slope / (slope - here) if here > slope else np.inf
        if np.isinf(high):
            step = min(max(secant, 1.5 * step), 10.0 * step)
        else:
            step = secant if low + 0.1 * (high - low) < secant < high - 0.1 * (high - low) else 0.5 * (low + high)
    return None
