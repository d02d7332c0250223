"""kd: the teacher's softened answers as targets.

Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network", arXiv 1503.02531: T²·KL(p_teacher^T ‖
p_student^T), the mean over examples, not over classes too, which would be C times too small. T = 4 and the weights 0.1
of the labels and 0.9 of this are those of CRD's and DKD's published runs. Nothing changed.

Letters: B examples, C classes.
"""

import torch.nn.functional as F
from torch import Tensor


def kd(logits_BC: Tensor, teacher_BC: Tensor, *, temperature: float = 4.0) -> Tensor:
    """T²·KL of softened answers; the gradient is T·(p_student − p_teacher)/B. `temperature` is T, above 0."""
    return temperature**2 * divergence(teacher_BC / temperature, logits_BC / temperature)


def divergence(target_BC: Tensor, given_BC: Tensor) -> Tensor:
    """KL(softmax(target) ‖ softmax(given)), the mean over examples; of log-probabilities, so finite for all logits."""
    return F.kl_div(F.log_softmax(given_BC, 1), F.log_softmax(target_BC, 1), reduction="batchmean", log_target=True)
