"""gkd: the generalised Jensen-Shannon divergence, for answers at each place of a sequence.

Agarwal et al., "On-Policy Distillation of Language Models" (GKD), arXiv 2306.13649, as in TRL: β = 0 is
KL(teacher ‖ student), 1 is KL(student ‖ teacher), between them both to the mixture. No T². The mean is over the places
that count, whichever sequence they are in. Classes of whole examples are sequences of one place.

Letters: B examples, T places, C classes or tokens.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

IGNORED = -100
"""Stands in the labels where a place does not count."""


def gkd(
    logits_BC: Tensor, teacher_BC: Tensor, y_B: Tensor | None = None, *, beta: float = 0.5, temperature: float = 1.0
) -> Tensor:
    """Logits (B, C) or (B, T, C), labels (B,) or (B, T)."""
    log_p, log_q = (F.log_softmax(z / temperature, -1) for z in (logits_BC, teacher_BC))
    each = _divergence(log_p, log_q, beta).sum(-1)
    counts = torch.ones_like(each) if y_B is None else (y_B != IGNORED).to(each.dtype)
    return (each * counts).sum() / counts.sum().clamp(min=1)


def _divergence(log_p: Tensor, log_q: Tensor, beta: float) -> Tensor:
    """Of the student's and the teacher's log-probabilities, class by class."""
    if beta in (0, 1):
        to, of = (log_p, log_q) if beta == 0 else (log_q, log_p)
        return F.kl_div(to, of, reduction="none", log_target=True)
    mixture = torch.logaddexp(log_p + math.log1p(-beta), log_q + math.log(beta))
    of_teacher = F.kl_div(mixture, log_q, reduction="none", log_target=True)
    of_student = F.kl_div(mixture, log_p, reduction="none", log_target=True)
    return beta * of_teacher + (1 - beta) * of_student
