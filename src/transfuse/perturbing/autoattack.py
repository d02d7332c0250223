"""AutoAttack: four attacks without parameters to get wrong; the figure that is comparable between papers.

Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks",
arXiv 2003.01690, by the package pyautoattack: APGD on the cross-entropy, targeted APGD, targeted FAB, Square. With
fewer than four classes, where the targeted loss is not defined, APGD on the cross-entropy, FAB and Square; with fewer
than ten, as many targets as there are other classes. Letters: B pictures, c channels, h w pixels.
"""

import logging
from typing import Any

import torch
from torch import Tensor, nn

from transfuse.core.errors import MissingExtra
from transfuse.perturbing.attacks import Ball, still

_NORMS = {"linf": "Linf", "l2": "L2"}
_TARGETS = 9


def require_autoattack() -> Any:
    """The class of pyautoattack; raises `MissingExtra`."""
    try:
        from pyautoattack import AutoAttack
    except ImportError:
        raise MissingExtra("AutoAttack needs pyautoattack: pip install transfuse[robust]") from None
    return AutoAttack


def withstood_all(network: nn.Module, x_Bchw: Tensor, y_B: Tensor, *, ball: Ball, classes: int, seed: int) -> Tensor:
    """Whether each picture is classified rightly whatever AutoAttack does to it, bool (B,)."""
    made = require_autoattack()
    if not ball.eps:
        with torch.no_grad(), still(network):
            return network(x_Bchw).argmax(1) == y_B
    custom = ["apgd-ce", "fab-t", "square"] if classes < 4 else ["apgd-ce", "apgd-t", "fab-t", "square"]
    attack = made(
        _Contiguous(network), attacks=custom, version="custom", norm=_NORMS[ball.norm], eps=ball.eps, seed=seed,
        device=x_Bchw.device,
    )  # fmt: skip
    attack.logger = _silent()
    for part in (attack.apgd, attack.apgd_targeted):
        part.logger, part.n_restarts = attack.logger, 1  # as its version "standard" sets them
    attack.fab.n_restarts = 1
    attack.apgd_targeted.n_target_classes = attack.fab.n_target_classes = min(_TARGETS, classes - 1)
    with torch.random.fork_rng(), torch.inference_mode(False), torch.enable_grad(), still(network):
        found_Bchw, _ = attack.run_standard_evaluation(x_Bchw.contiguous(), y_B, batch_size=len(x_Bchw))
        with torch.no_grad():
            return network(found_Bchw).argmax(1) == y_B


class _Contiguous(nn.Module):
    """The network with gradients in the plain layout: the package views them flat, convolutions lay them otherwise."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, x_Bchw: Tensor) -> Tensor:
        if x_Bchw.requires_grad:
            x_Bchw = x_Bchw.clone()
            x_Bchw.register_hook(lambda slope_Bchw: slope_Bchw.contiguous())
        return self.network(x_Bchw)


def _silent() -> logging.Logger:
    """A logger that says nothing: the package warns through logging of what the report says in words."""
    logger = logging.Logger("autoattack")
    logger.addHandler(logging.NullHandler())
    return logger
