"""Greedy selection with replacement: again and again the member that helps the mean most; its count is its weight.

Caruana, Niculescu-Mizil, Crew, Ksikes, "Ensemble selection from libraries of models", ICML 2004, with its three guards
against overfitting: replacement (section 2.1), a start from the best members (2.2), bags of members (2.3). Kept from
the climb is the round of the lowest loss. Changed: of equal losses the first member wins, so that the result is
determined; the default loss is the log-loss, which is smoother than accuracy on few examples.
Letters: M members, N examples, C classes, B bags.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Kind
from transfuse.core.randomness import key
from transfuse.fusing.outputs.blending import Array, Blend

Loss = Literal["log_loss", "error"]
_LEAST = 1e-15


def caruana(
    p_MNC: Array,
    targets: np.ndarray,
    kind: Kind,
    *,
    seed: int = 0,
    groups: Sequence[str] | None = None,
    rounds: int = 50,
    initial: int = 1,
    bags: int = 1,
    share: float = 0.5,
    loss: Loss = "log_loss",
) -> Blend:
    """Shares of the members.

    Args:
        p_MNC: Answers on examples that no member has learnt from.
        targets: Of these examples.
        kind: Of the task; numbers are judged by their mean squared error.
        seed: Of the bags.
        groups: Not asked: nothing is held out here.
        rounds: Members taken at most, those of the start included.
        initial: Best members to start with.
        bags: More than one: the climb is repeated, each time among a part of the members, and the shares are averaged.
        share: 0..1: part of the members that a bag holds.
        loss: `log_loss`, or `error`: the share of wrong answers.
    """
    for name, value in (("rounds", rounds), ("initial", initial), ("bags", bags)):
        if value < 1:
            raise UsageError(f"`{name}` must be at least 1, but is {value}.")
    if not 0 < share <= 1:
        raise UsageError(f"`share` must be above 0 and at most 1, but is {share}.")
    judged = _loss(targets, kind, loss)
    counts_BM = [_climbed(p_MNC, judged, members, rounds, initial) for members in _bags(len(p_MNC), bags, share, seed)]
    share_M = np.mean([count_M / count_M.sum() for count_M in counts_BM], axis=0)
    return Blend(share_M=share_M, facts=(("rounds kept", int(counts_BM[0].sum())),) if bags == 1 else ())


def _climbed(
    p_MNC: Array, judged: Callable[[Array], float], members: np.ndarray, rounds: int, initial: int
) -> np.ndarray:
    """How often each member was taken, up to the round of the lowest loss."""
    alone = [judged(p_MNC[m]) for m in members]
    taken = [int(members[place]) for place in np.argsort(alone, kind="stable")[:initial]]
    sum_NC = p_MNC[taken].sum(0)
    best, best_length = judged(sum_NC / len(taken)), len(taken)
    while len(taken) < rounds:
        losses = [judged((sum_NC + p_MNC[m]) / (len(taken) + 1)) for m in members]
        step = int(members[int(np.argmin(losses))])
        taken.append(step)
        sum_NC = sum_NC + p_MNC[step]
        if min(losses) < best:
            best, best_length = min(losses), len(taken)
    return np.bincount(taken[:best_length], minlength=len(p_MNC))


def _bags(members: int, bags: int, share: float, seed: int) -> list[np.ndarray]:
    if bags == 1:
        return [np.arange(members)]
    size = max(1, round(share * members))
    draws = (np.random.default_rng(key(seed, "bag", bag)) for bag in range(bags))
    return [np.sort(random.choice(members, size, replace=False)) for random in draws]


def _loss(targets: np.ndarray, kind: Kind, loss: Loss) -> Callable[[Array], float]:
    rows = np.arange(len(targets))
    if kind == "regression":
        spread_C = np.maximum(np.std(targets, axis=0), 1e-12)
        return lambda p_NC: float(np.mean(((p_NC - targets) / spread_C) ** 2))
    if kind == "single-label":
        if loss == "error":
            return lambda p_NC: float(np.mean(p_NC.argmax(1) != targets))
        return lambda p_NC: float(-np.mean(np.log(np.maximum(p_NC[rows, targets], _LEAST))))
    if loss == "error":
        return lambda p_NC: float(np.mean((p_NC >= 0.5) != (targets > 0.5)))
    return lambda p_NC: float(-np.mean(np.log(np.maximum(np.where(targets > 0.5, p_NC, 1 - p_NC), _LEAST))))
