"""kd of labels that do not exclude each other: each label's own softened answer as a target.

Hinton, Vinyals and Dean, arXiv 1503.02531, with a Bernoulli distribution for each label in place of one categorical:
T²·KL(Bern(σ(z_t/T)) ‖ Bern(σ(z_s/T))), the mean over examples and over labels, as the loss of the labels is.

Letters: B examples, C labels.
"""

import torch.nn.functional as F
from torch import Tensor


def bernoulli(logits_BC: Tensor, teacher_BC: Tensor, *, temperature: float = 4.0) -> Tensor:
    """Of log-probabilities, so finite for all logits; the gradient is T·(p_student − p_teacher)/(B·C)."""
    z_BC, t_BC = logits_BC / temperature, teacher_BC / temperature
    yes_BC = t_BC.sigmoid() * (F.logsigmoid(t_BC) - F.logsigmoid(z_BC))
    no_BC = (-t_BC).sigmoid() * (F.logsigmoid(-t_BC) - F.logsigmoid(-z_BC))
    return temperature**2 * (yes_BC + no_BC).mean()
