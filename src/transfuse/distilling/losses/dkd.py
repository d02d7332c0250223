"""dkd: what the teacher says about the true class, and about the others, weighed apart.

Zhao et al., "Decoupled Knowledge Distillation", arXiv 2203.08679: T²·(α·KL of the pair (p[y], 1 − p[y]) + β·KL among
the other classes). `kd` is α = 1, β = 1 − p_teacher[y]. Changed: log-sum-exp forms, where the reference takes the
logarithm of a sum that underflows in float32; the warm-up (20 of the paper's 240 epochs) is the same share of any
training.

Letters: B examples, C classes, O = C − 1 other classes.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from transfuse.distilling.losses.kd import divergence


def dkd(
    logits_BC: Tensor,
    teacher_BC: Tensor,
    y_B: Tensor,
    share: float = 1.0,
    *,
    alpha: float = 1.0,
    beta: float = 8.0,
    temperature: float = 4.0,
    warm_up: float = 1 / 12,
) -> Tensor:
    """`share` (0..1) is how much of the training is over, of which `warm_up` raises the loss from 0.

    Published `beta`: 8; 2 for ResNets whose teacher is little better; 0.5 with `temperature` 1 on ImageNet.
    """
    pair, pair_teacher = _pair(logits_BC / temperature, y_B), _pair(teacher_BC / temperature, y_B)
    target = F.kl_div(pair, pair_teacher, reduction="batchmean", log_target=True)
    others = divergence(_others(teacher_BC, y_B) / temperature, _others(logits_BC, y_B) / temperature)
    risen = min(1.0, share / warm_up) if warm_up else 1.0
    return risen * temperature**2 * (alpha * target + beta * others)


def _pair(z_BC: Tensor, y_B: Tensor) -> Tensor:
    """log p[y] and log (1 − p[y]), (B, 2)."""
    true_B = z_BC.gather(1, y_B[:, None]).squeeze(1)
    rest_B = _others(z_BC, y_B).logsumexp(1)
    return F.log_softmax(torch.stack([true_B, rest_B], 1), 1)


def _others(z_BC: Tensor, y_B: Tensor) -> Tensor:
    """Logits of the classes that are not the true one, (B, O)."""
    other_BC = torch.ones_like(z_BC, dtype=torch.bool).scatter(1, y_B[:, None], False)
    return z_BC[other_BC].view(len(z_BC), -1)
