"""dist: the student's probabilities need only correlate with the teacher's, within examples and within classes.

Huang et al., "Knowledge Distillation from A Stronger Teacher" (DIST), arXiv 2205.10536:
τ²·[β·(1 − mean of Pearson's ρ over rows) + γ·(1 − mean of ρ over columns)]. Weight 2 beside the labels' 1; τ = 1 on
ImageNet, 4 on CIFAR. A batch of one example has constant columns, of which ρ is 0. Nothing changed.

Letters: B examples, C classes.
"""

from torch import Tensor

_EPSILON = 1e-8


def dist(
    logits_BC: Tensor, teacher_BC: Tensor, *, beta: float = 1.0, gamma: float = 1.0, temperature: float = 1.0
) -> Tensor:
    """`beta` weighs correlation between the classes of an example, `gamma` between the examples of a class."""
    p_BC, teacher_p_BC = (logits_BC / temperature).softmax(1), (teacher_BC / temperature).softmax(1)
    between = 1 - correlation(p_BC, teacher_p_BC).mean()
    within = 1 - correlation(p_BC.T, teacher_p_BC.T).mean()
    return temperature**2 * (beta * between + gamma * within)


def correlation(a_NK: Tensor, b_NK: Tensor) -> Tensor:
    """Pearson's ρ of each row, (N,); 0 for a constant one."""
    a_NK, b_NK = (x_NK - x_NK.mean(1, keepdim=True) for x_NK in (a_NK, b_NK))
    return (a_NK * b_NK).sum(1) / (a_NK.norm(dim=1) * b_NK.norm(dim=1) + _EPSILON)
