"""logit_std: `kd` of logits whose mean and deviation were taken off, so that the student may be less sure.

Sun et al., "Logit Standardization in Knowledge Distillation", arXiv 2403.01427; T = 2, weight 9 beside 0.1 of the
labels. The deviation is the unbiased one (ddof 1), which matters for few classes. Nothing changed.

Letters: B examples, C classes.
"""

from torch import Tensor

from transfuse.distilling.losses.kd import kd

_EPSILON = 1e-7


def logit_std(logits_BC: Tensor, teacher_BC: Tensor, *, temperature: float = 2.0) -> Tensor:
    """T²·KL of standardised and softened answers."""
    return kd(standardised(logits_BC), standardised(teacher_BC), temperature=temperature)


def standardised(z_BC: Tensor) -> Tensor:
    """(z − mean) / (deviation + ε), row by row."""
    return (z_BC - z_BC.mean(1, keepdim=True)) / (z_BC.std(1, keepdim=True) + _EPSILON)
