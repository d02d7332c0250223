"""Attacks that follow the gradient: FGSM and PGD within a ball, from a random start of each example's own.

FGSM: Goodfellow et al., arXiv 1412.6572, with the random start and the step of 1.25 eps of Wong et al., "Fast is better
than free", arXiv 2001.03994. PGD: Madry et al., arXiv 1706.06083. Changed: the start is
keyed by example, so no batch, worker or resumption changes it; the loss is taken in float64 and of bounded margins, so
that its gradient does not vanish for a network that is very sure. Points are put back into ball and box OUTSIDE the
graph: a clamp inside it has no gradient at pixels of 0 and 1, of which pictures are full, and makes a network look far
stronger than it is. PGD's steps fall from eps to almost nothing along a cosine, and its start in the L2 ball is near
the middle as often as far: on digits that breaks up to 1 (L-inf) and 3 points (L2) more than steps of 2.5 eps / n.
Letters: B pictures, c channels, h w pixels, C classes.
"""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transfuse.core.errors import UsageError
from transfuse.core.randomness import key
from transfuse.core.tables import chosen
from transfuse.tasks.images.augmenting import uniform

Norm = Literal["linf", "l2"]
NORMS = ("linf", "l2")
Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits_BC, targets) -> loss_B: what the attack makes as large as it can."""
_TINY = 1e-12
_SURE = 30.0  # margin above which float64 runs out of digits, too


@dataclass(frozen=True, kw_only=True)
class Ball:
    """The changes of a picture that an attacker may make; pixels stay in 0..1."""

    eps: float
    """Radius, in pixels of 0..1: of every pixel (`linf`), or of the whole picture (`l2`)."""
    norm: Norm = "linf"

    def __post_init__(self) -> None:
        chosen("norm", self.norm, NORMS)
        if not 0 <= self.eps < float("inf"):
            raise UsageError(f"`eps` must be at least 0, in pixels of 0..1, but is {self.eps}.")


def cross_entropy(logits_BC: Tensor, y_B: Tensor) -> Tensor:
    """With a gradient however sure the network is: in float32 it is exactly 0 from a margin of 17 on.

    In float64, and logits whose margin is above 30 are scaled down to it, which changes no answer.
    """
    logits_BC = logits_BC.double()
    others_BC = logits_BC.detach().scatter(1, y_B[:, None], -torch.inf)
    margin_B1 = logits_BC.detach().gather(1, y_B[:, None]) - others_BC.amax(1, keepdim=True)
    return F.cross_entropy(logits_BC / (margin_B1 / _SURE).clamp_min(1), y_B, reduction="none")


def pgd(
    network: nn.Module,
    x_Bchw: Tensor,
    y_B: Tensor,
    *,
    ball: Ball,
    keys_B: Sequence[int],
    steps: int = 7,
    loss: Loss = cross_entropy,
) -> Tensor:
    """Pictures within the ball around `x_Bchw`, pixels in 0..1, on which the loss is large; the last ones found.

    `network` takes pixels. It is in evaluation mode meanwhile, so no statistics move; its weights get no gradient.
    """
    with still(network):
        found_Bchw = started(x_Bchw, ball, keys_B)
        for length in lengths(ball, steps):
            gradient_Bchw, _ = gradient(network, found_Bchw, y_B, loss)
            found_Bchw = moved(found_Bchw, x_Bchw, gradient_Bchw, ball, length)
    return found_Bchw


def fgsm(network: nn.Module, x_Bchw: Tensor, y_B: Tensor, *, ball: Ball, keys_B: Sequence[int]) -> Tensor:
    """One step from a random start: PGD of a single step."""
    return pgd(network, x_Bchw, y_B, ball=ball, keys_B=keys_B, steps=1)


def noisy_fgsm(
    network: nn.Module, x_Bchw: Tensor, y_B: Tensor, *, ball: Ball, keys_B: Sequence[int], loss: Loss = cross_entropy
) -> Tensor:
    """For training only: a step of eps from noise of twice eps, not put back into the L-inf ball.

    De Jorge et al., "Make some noise", arXiv 2202.01181 (N-FGSM): as cheap as FGSM, and more is learnt.
    """
    with still(network):
        noisy_Bchw = started(x_Bchw, replace(ball, eps=2 * ball.eps), keys_B)
        gradient_Bchw, _ = gradient(network, noisy_Bchw, y_B, loss)
    return moved(noisy_Bchw, noisy_Bchw, gradient_Bchw, ball, ball.eps)


def withstood(
    network: nn.Module, x_Bchw: Tensor, y_B: Tensor, *, ball: Ball, keys_B: Sequence[int], steps: int = 20
) -> Tensor:
    """Whether each picture is classified rightly as it is and at every point of PGD's ways, bool (B,).

    Two ways of `steps` each, along cross-entropy and along the margin: neither loss is the stronger one everywhere.
    Stronger than looking at the last points only, and cheaper: what is broken is followed no further.
    """
    with still(network):
        right_B = network(x_Bchw).argmax(1) == y_B
        left = torch.nonzero(right_B)[:, 0]
        for loss in (cross_entropy, margin) if steps else ():
            keys = [key(keys_B[place], loss.__name__) for place in left.tolist()]
            left = left[_kept(network, x_Bchw[left], y_B[left], loss, ball=ball, keys_B=keys, steps=steps)]
    return torch.zeros_like(right_B).index_fill_(0, left, True)


def _kept(
    network: nn.Module, x_Bchw: Tensor, y_B: Tensor, loss: Loss, *, ball: Ball, keys_B: Sequence[int], steps: int
) -> Tensor:
    """Places of the pictures that are right at every point of one way."""
    left, found_Bchw = torch.arange(len(y_B), device=y_B.device), started(x_Bchw, ball, keys_B)
    for length in (*lengths(ball, steps), 0.0):
        if not len(left):
            break
        gradient_Bchw, logits_BC = gradient(network, found_Bchw, y_B[left], loss)
        kept = logits_BC.argmax(1) == y_B[left]
        left, found_Bchw, gradient_Bchw = left[kept], found_Bchw[kept], gradient_Bchw[kept]
        found_Bchw = moved(found_Bchw, x_Bchw[left], gradient_Bchw, ball, length)
    return left


def margin(logits_BC: Tensor, y_B: Tensor) -> Tensor:
    """How far the strongest other class is above the right one (Carlini and Wagner, arXiv 1608.04644)."""
    logits_BC = logits_BC.double()
    others_BC = logits_BC.scatter(1, y_B[:, None], -torch.inf)
    return others_BC.amax(1) - logits_BC.gather(1, y_B[:, None])[:, 0]


def gradient(network: nn.Module, x_Bchw: Tensor, y_B: Tensor, loss: Loss) -> tuple[Tensor, Tensor]:
    """Gradient of each picture's own loss by its pixels, and the logits. Raises `UsageError` where there is none."""
    with torch.inference_mode(False), torch.enable_grad():
        leaf_Bchw = x_Bchw.clone().requires_grad_(True)
        logits_BC = network(leaf_Bchw)
        total = loss(logits_BC, y_B).sum()
        found = torch.autograd.grad(total, leaf_Bchw, allow_unused=True)[0] if total.requires_grad else None
    if found is None:
        raise UsageError("Gradients must reach the input for an attack, but this network does not let them through.")
    return found, logits_BC.detach()


@torch.no_grad()
def started(x_Bchw: Tensor, ball: Ball, keys_B: Sequence[int]) -> Tensor:
    """A random point of the ball for each picture: uniform in the cube, or in the radius; pixels in 0..1."""
    count = x_Bchw[0].numel() if len(x_Bchw) else 0
    random_BK = uniform(keys_B, count + 1).to(x_Bchw.device)
    if ball.norm == "linf":
        offset_BK = (random_BK[:, :count] * 2 - 1) * ball.eps
    else:
        normal_BK = torch.special.ndtri(random_BK[:, :count].clamp(1e-7, 1 - 1e-7))
        offset_BK = ball.eps * random_BK[:, count:] * normal_BK / normal_BK.norm(dim=1, keepdim=True).clamp_min(_TINY)
    return (x_Bchw + offset_BK.view(x_Bchw.shape)).clamp(0, 1)


def lengths(ball: Ball, steps: int) -> list[float]:
    """How far each step goes."""
    if steps == 1:
        return [1.25 * ball.eps]
    return [ball.eps * (0.51 + 0.5 * math.cos(math.pi * step / steps)) for step in range(steps)]


@torch.no_grad()
def moved(found_Bchw: Tensor, x_Bchw: Tensor, gradient_Bchw: Tensor, ball: Ball, length: float) -> Tensor:
    """One step uphill, put back into the ball around `x_Bchw` and into 0..1."""
    if ball.norm == "linf":
        return projected(found_Bchw + length * gradient_Bchw.sign(), x_Bchw, ball)
    return projected(found_Bchw + length * gradient_Bchw / _lengths(gradient_Bchw).clamp_min(_TINY), x_Bchw, ball)


@torch.no_grad()
def projected(found_Bchw: Tensor, x_Bchw: Tensor, ball: Ball) -> Tensor:
    """The nearest point of the ball, then of the box: the latter comes nearer to `x_Bchw` only."""
    offset_Bchw = found_Bchw - x_Bchw
    if ball.norm == "linf":
        offset_Bchw = offset_Bchw.clamp(-ball.eps, ball.eps)
    else:
        offset_Bchw = offset_Bchw * (ball.eps / _lengths(offset_Bchw).clamp_min(_TINY)).clamp(max=1)
    return (x_Bchw + offset_Bchw).clamp(0, 1)


@contextlib.contextmanager
def still(network: nn.Module) -> Iterator[None]:
    """The network in evaluation mode, every module as it was afterwards."""
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _lengths(x_Bchw: Tensor) -> Tensor:
    """L2 norm of each picture, (B, 1, 1, 1)."""
    return x_Bchw.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
