"""L-BFGS for several problems at once: which steps were taken, how the gradient changed, and what follows for the next.

Byrd, Nocedal and Schnabel, "Representations of quasi-Newton matrices", 1994, equation 3.1: the inverse Hessian as a
diagonal plus products with the last steps S and changes Y, which are matrix products instead of a loop over them.
Ours: the pairs survive a change of the penalty, whose share of Y is known exactly; the products of S and Y with the
gradient are carried along, since the gradient changes by what is remembered.
Letters: K problems, M pairs (as a matrix's axis: oldest first), X coefficients of a problem.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Memory:
    """The last pairs; the tensors are overwritten in place."""

    moved_KMX: Tensor
    changed_KMX: Tensor
    order: tuple[int, ...]
    """Their places in the two, oldest first."""
    inner_KMM: Tensor
    """moved · changed, where the second is not older; 1 on the diagonal for a pair that does not count."""
    own_KM: Tensor
    """Its diagonal, with 0 for a pair that does not count."""
    changes_KMM: Tensor
    """changed · preconditioner · changed."""
    ahead_KM: Tensor
    """moved · gradient."""
    pull_KM: Tensor
    """changed · preconditioner · gradient."""
    factor_K: Tensor
    """Of the preconditioner: moved · changed / changed · preconditioner · changed of the newest pair."""


def empty(problems: int, pairs: int, size: int) -> Memory:
    """No pair yet."""
    matrix, vector = (problems, pairs, pairs), (problems, pairs)
    return Memory(
        moved_KMX=torch.zeros(problems, pairs, size),
        changed_KMX=torch.zeros(problems, pairs, size),
        order=tuple(range(pairs)),
        inner_KMM=torch.eye(pairs, dtype=torch.float64).repeat(problems, 1, 1),
        own_KM=torch.zeros(vector, dtype=torch.float64),
        changes_KMM=torch.zeros(matrix, dtype=torch.float64),
        ahead_KM=torch.zeros(vector, dtype=torch.float64),
        pull_KM=torch.zeros(vector, dtype=torch.float64),
        factor_K=torch.ones(problems, dtype=torch.float64),
    )


def penalise(memory: Memory, by_X: Tensor) -> None:
    """Account for a change of the penalty's diagonal; `begin` must follow."""
    memory.changed_KMX.addcmul_(memory.moved_KMX, by_X)


def begin(memory: Memory, gradient_KX: Tensor, inverse_KX: Tensor) -> None:
    """Another gradient, another preconditioner."""
    order = list(memory.order)
    moved_KMX, changed_KMX = memory.moved_KMX[:, order], memory.changed_KMX[:, order]
    scaled_KMX = changed_KMX * inverse_KX[:, None]
    memory.inner_KMM.copy_(moved_KMX @ changed_KMX.transpose(1, 2))
    memory.changes_KMM.copy_(scaled_KMX @ changed_KMX.transpose(1, 2))
    memory.own_KM.copy_(memory.inner_KMM.diagonal(dim1=1, dim2=2).clamp_min(0.0))
    memory.inner_KMM.diagonal(dim1=1, dim2=2).copy_(torch.where(memory.own_KM > 0, memory.own_KM, 1.0))
    memory.ahead_KM.copy_(_times(moved_KMX, gradient_KX))
    memory.pull_KM.copy_(_times(scaled_KMX, gradient_KX))
    memory.factor_K.fill_(1.0)
    for m in range(len(order)):
        ratio_K = memory.own_KM[:, m] / memory.changes_KMM[:, m, m].clamp_min(1e-300)
        memory.factor_K.copy_(torch.where(ratio_K > 0, ratio_K, memory.factor_K))


def remember(memory: Memory, moved_KX: Tensor, changed_KX: Tensor, gradient_KX: Tensor, inverse_KX: Tensor) -> Memory:
    """One more step, after which the gradient is the one given; one without curvature counts as none."""
    at, order = memory.order[0], [*memory.order[1:], memory.order[0]]
    scaled_KX = changed_KX * inverse_KX
    product_K, square_K = (moved_KX * changed_KX).sum(1).double(), (changed_KX * scaled_KX).sum(1).double()
    limit_K = 1e-10 * moved_KX.norm(dim=1) * changed_KX.norm(dim=1)
    valid_K1 = (product_K > limit_K)[:, None]
    moved_KM, scaled_KM = (
        _times(memory.moved_KMX, changed_KX)[:, order],
        _times(memory.changed_KMX, scaled_KX)[:, order],
    )
    for carried_KM, by_KM in ((memory.ahead_KM, moved_KM), (memory.pull_KM, scaled_KM)):
        carried_KM[:, :-1] = carried_KM[:, 1:] + by_KM[:, :-1]
    moved_KM[:, -1], scaled_KM[:, -1] = torch.where(valid_K1[:, 0], product_K, 1.0), square_K
    for matrix_KMM in (memory.inner_KMM, memory.changes_KMM):
        matrix_KMM[:, :-1, :-1] = matrix_KMM[:, 1:, 1:].clone()
    moved_KM[:, :-1] *= valid_K1
    memory.inner_KMM[:, :, -1] = moved_KM
    memory.changes_KMM[:, :, -1] = memory.changes_KMM[:, -1, :] = scaled_KM * valid_K1
    memory.own_KM[:, :-1] = memory.own_KM[:, 1:].clone()
    memory.own_KM[:, -1] = product_K * valid_K1[:, 0]
    memory.moved_KMX[:, at], memory.changed_KMX[:, at] = moved_KX * valid_K1, changed_KX * valid_K1
    memory.ahead_KM[:, -1] = (memory.moved_KMX[:, at] * gradient_KX).sum(1)
    memory.pull_KM[:, -1] = (scaled_KX * gradient_KX).sum(1) * valid_K1[:, 0]
    factor_K = torch.where(valid_K1[:, 0], product_K / square_K.clamp_min(1e-300), memory.factor_K)
    return replace(memory, order=tuple(order), factor_K=factor_K)


def direction(memory: Memory, gradient_KX: Tensor, inverse_KX: Tensor) -> Tensor:
    """The quasi-Newton step against the gradient."""
    factor_K11 = memory.factor_K[:, None, None]
    upper_KMM = memory.inner_KMM.triu()
    u_KM1 = torch.linalg.solve_triangular(upper_KMM, memory.ahead_KM[..., None], upper=True)
    right = memory.own_KM[..., None] * u_KM1 + factor_K11 * (memory.changes_KMM @ u_KM1 - memory.pull_KM[..., None])
    v_KM1 = torch.linalg.solve_triangular(upper_KMM.transpose(1, 2), right, upper=False)
    order = list(memory.order)
    both_KM2 = torch.empty(len(factor_K11), len(order), 2)
    both_KM2[:, order] = torch.cat([v_KM1, factor_K11 * u_KM1], dim=2).float()
    along_KX = (both_KM2[:, None, :, 0] @ memory.moved_KMX)[:, 0]
    back_KX = (both_KM2[:, None, :, 1] @ memory.changed_KMX)[:, 0]
    return back_KX.sub_(factor_K11[:, 0].float() * gradient_KX).mul_(inverse_KX).sub_(along_KX)


def _times(a_KMX: Tensor, b_KX: Tensor) -> Tensor:
    """Products of matrices and vectors; a loop, since a batched product with one column is ten times slower."""
    return torch.stack([a_MX @ b_X for a_MX, b_X in zip(a_KMX, b_KX, strict=True)]).double()


def smoothed(
    smooth_KX: tuple[Tensor, Tensor], there_KX: tuple[Tensor, Tensor], measure_KX: Tensor
) -> tuple[Tensor, Tensor]:
    """Step and gradient on the line from a smooth place to a new one, where the measured gradient is smallest.

    L-BFGS lowers the objective while its gradient goes up and down; a bound needs a small gradient. Minimal residual
    smoothing: Zhou and Walker, "Residual smoothing techniques for iterative methods", 1994.
    """
    (step_KX, gradient_KX), change_KX = smooth_KX, there_KX[1] - smooth_KX[1]
    weighted_KX = change_KX * measure_KX
    share_K = -(weighted_KX * gradient_KX).sum(1) / (weighted_KX * change_KX).sum(1).clamp_min(1e-38)
    share_K1 = share_K.clamp(0.0, 1.0)[:, None]
    return step_KX + share_K1 * (there_KX[0] - step_KX), gradient_KX + share_K1 * change_KX
