"""kd of numbers: the teacher's values as targets, in the task's standardised units.

What Ba and Caruana, "Do Deep Nets Really Need to be Deep?", arXiv 1312.6184, do to logits: the squared error to the
teacher's number, the mean over examples and columns, beside that to the label. There is no temperature.

Letters: B examples, C columns.
"""

import torch.nn.functional as F
from torch import Tensor


def values(logits_BC: Tensor, teacher_BC: Tensor) -> Tensor:
    """Mean squared error."""
    return F.mse_loss(logits_BC, teacher_BC)
