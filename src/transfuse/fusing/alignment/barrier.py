"""The loss barrier: how much higher the loss is between two networks than at them.

Frankle et al., "Linear mode connectivity and the lottery ticket hypothesis", arXiv 1912.05671; in the form of
arXiv 2209.04836: the largest L(θ(α)) - (1-α) L(θ_a) - α L(θ_b) along the line.
Letters: N examples, K points on the line.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from transfuse.training.averaging import copied
from transfuse.weights.interpolating import interpolate

State = Mapping[str, Tensor]
Batch = tuple[Tensor, Tensor]
"""What the network is given, and targets."""
ALPHAS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True, kw_only=True)
class Barrier:
    """What lies between two networks, with its 95 % interval over examples."""

    alphas: tuple[float, ...]
    losses: tuple[float, ...]
    """Mean at each of `alphas`."""
    value: float
    """At the worst point inside; below 0 when the line is better than its ends."""
    low: float
    high: float
    alpha: float
    n: int


def barrier(
    network: nn.Module,
    a: State,
    b: State,
    batches: Sequence[Batch],
    *,
    loss: Callable[[Tensor, Tensor], Tensor],
    alphas: Sequence[float] = ALPHAS,
    mend: Callable[[nn.Module, float], None] | None = None,
) -> Barrier:
    """The barrier between two states of a network, which is used and left as it was.

    loss: Of outputs and targets, one number an example. alphas: From 0 to 1. mend: Called on the network at α inside.
    """
    kept = copied(network)
    losses = []
    for alpha in alphas:
        network.load_state_dict(interpolate(a, b, alpha))
        if mend is not None and 0 < alpha < 1:
            mend(network, alpha)
        losses.append(losses_of(network, batches, loss))
    network.load_state_dict(kept)
    return _told(np.stack(losses), np.asarray(alphas))


def losses_of(network: nn.Module, batches: Sequence[Batch], loss: Callable[[Tensor, Tensor], Tensor]) -> np.ndarray:
    """The loss of every example, (N,)."""
    network.eval()
    with torch.no_grad():
        return np.concatenate([loss(network(x), y).double().numpy() for x, y in batches])


def _told(losses_KN: np.ndarray, alphas_K: np.ndarray) -> Barrier:
    line_KN = np.outer(1 - alphas_K, losses_KN[0]) + np.outer(alphas_K, losses_KN[-1])
    excess_KN = (losses_KN - line_KN)[1:-1]
    worst = int(excess_KN.mean(1).argmax())
    own_N = excess_KN[worst]
    half = 1.96 * own_N.std(ddof=1) / len(own_N) ** 0.5 if len(own_N) > 1 else float("inf")
    value = float(own_N.mean())
    return Barrier(
        alphas=tuple(alphas_K.tolist()),
        losses=tuple(losses_KN.mean(1).tolist()),
        value=value,
        low=value - half,
        high=value + half,
        alpha=float(alphas_K[worst + 1]),
        n=len(own_N),
    )
