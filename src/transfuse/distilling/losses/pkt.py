"""pkt: how probable each example is as another's neighbour, by cosines, is as the teacher has it.

Passalis and Tefas, "Learning Deep Representations with Probabilistic Knowledge Transfer", arXiv 1803.10837: the mean
over pairs of t·log(t/s), weight 30000. Nothing changed.

Letters: B examples, D E features.
"""

from torch import Tensor

_EPSILON = 1e-7


def pkt(features_BD: Tensor, teacher_BE: Tensor) -> Tensor:
    """Features of any two sizes."""
    s_BB, t_BB = neighbours(features_BD), neighbours(teacher_BE)
    return (t_BB * ((t_BB + _EPSILON) / (s_BB + _EPSILON)).log()).mean()


def neighbours(x_BD: Tensor) -> Tensor:
    """Conditional probabilities, (B, B)."""
    unit_BD = x_BD / (x_BD.norm(dim=1, keepdim=True) + _EPSILON)
    closeness_BB = (unit_BD @ unit_BD.T + 1) / 2
    return closeness_BB / closeness_BB.sum(1, keepdim=True)
