"""L-BFGS for several problems at once: which steps were taken, how the gradient changed, and what follows for the next.

Byrd, Nocedal and Schnabel, "Representations of quasi-Newton matrices", 1994, equation 3.1: the inverse Hessian as a
diagonal plus products with the last steps S and changes Y, which are matrix products instead of a loop over them.
Ours: the pairs survive a change of the penalty, whose share of Y is known exactly.
Letters: K problems, M pairs, X coefficients of a problem.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Memory:
    """The last pairs, in a ring of places; the tensors are overwritten in place."""

    moved_KMX: Tensor
    changed_KMX: Tensor
    order: tuple[int, ...]
    """Places that hold a pair, oldest first."""
    inner_KMM: Tensor
    """moved · changed."""
    changes_KMM: Tensor
    """changed · preconditioner · changed."""


def empty(problems: int, pairs: int, size: int) -> Memory:
    """No pair yet."""
    return Memory(
        moved_KMX=torch.zeros(problems, pairs, size),
        changed_KMX=torch.zeros(problems, pairs, size),
        order=(),
        inner_KMM=torch.zeros(problems, pairs, pairs, dtype=torch.float64),
        changes_KMM=torch.zeros(problems, pairs, pairs, dtype=torch.float64),
    )


def remember(memory: Memory, moved_KX: Tensor, changed_KX: Tensor, inverse_KX: Tensor) -> Memory:
    """One more pair, in the place of the oldest if there is no other; one without curvature counts as none."""
    valid_K = (moved_KX * changed_KX).sum(1) > 1e-10 * moved_KX.norm(dim=1) * changed_KX.norm(dim=1)
    size = memory.moved_KMX.shape[1]
    at = len(memory.order) if len(memory.order) < size else memory.order[0]
    memory.moved_KMX[:, at] = torch.where(valid_K[:, None], moved_KX, 0.0)
    memory.changed_KMX[:, at] = torch.where(valid_K[:, None], changed_KX, 0.0)
    moved, changed = memory.moved_KMX, memory.changed_KMX
    memory.inner_KMM[:, :, at] = _times(moved, changed[:, at])  # the row is not needed: it is older than the pair
    row = _times(changed, changed[:, at] * inverse_KX)
    memory.changes_KMM[:, :, at] = memory.changes_KMM[:, at, :] = row
    kept = memory.order if len(memory.order) < size else memory.order[1:]
    return replace(memory, order=(*kept, at))


def penalise(memory: Memory, by_X: Tensor) -> None:
    """Account for a change of the penalty's diagonal; `precondition` must follow."""
    memory.changed_KMX.addcmul_(memory.moved_KMX, by_X)


def precondition(memory: Memory, inverse_KX: Tensor) -> Memory:
    """The memory under another preconditioner."""
    memory.inner_KMM.copy_(memory.moved_KMX @ memory.changed_KMX.transpose(1, 2))
    memory.changes_KMM.copy_((memory.changed_KMX * inverse_KX[:, None]) @ memory.changed_KMX.transpose(1, 2))
    return memory


def direction(memory: Memory, gradient_KX: Tensor, inverse_KX: Tensor) -> Tensor:
    """The quasi-Newton step against the gradient."""
    scaled_KX = inverse_KX * gradient_KX
    if not memory.order:
        return -scaled_KX
    order = list(memory.order)
    inner_KMM = memory.inner_KMM[:, order][:, :, order]
    changes_KMM = memory.changes_KMM[:, order][:, :, order]
    own_KM = inner_KMM.diagonal(dim1=1, dim2=2)
    factor_K = _last_valid(own_KM, changes_KMM.diagonal(dim1=1, dim2=2))
    upper_KMM = torch.triu(inner_KMM) + torch.diag_embed((own_KM <= 0).double())
    a_KM1 = _times(memory.moved_KMX, gradient_KX)[:, order, None]
    c_KM1 = factor_K[:, None, None] * _times(memory.changed_KMX, scaled_KX)[:, order, None]
    u_KM1 = torch.linalg.solve_triangular(upper_KMM, a_KM1, upper=True)
    right = own_KM[..., None] * u_KM1 + factor_K[:, None, None] * (changes_KMM @ u_KM1) - c_KM1
    v_KM1 = torch.linalg.solve_triangular(upper_KMM.transpose(1, 2), right, upper=False)
    places_KM2 = torch.zeros(len(factor_K), memory.moved_KMX.shape[1], 2)
    places_KM2[:, order] = torch.cat([v_KM1, factor_K[:, None, None] * u_KM1], dim=2).float()
    along_KX = (places_KM2[..., :1].transpose(1, 2) @ memory.moved_KMX)[:, 0]
    back_KX = (places_KM2[..., 1:].transpose(1, 2) @ memory.changed_KMX)[:, 0]
    return (back_KX - factor_K[:, None].float() * gradient_KX) * inverse_KX - along_KX


def _times(a_KMX: Tensor, b_KX: Tensor) -> Tensor:
    """Products of matrices and vectors; a loop, since a batched product with one column is ten times slower."""
    return torch.stack([a_MX @ b_X for a_MX, b_X in zip(a_KMX, b_KX, strict=True)]).double()


def _last_valid(own_KM: Tensor, changes_KM: Tensor) -> Tensor:
    """moved·changed / changed·preconditioner·changed of the newest pair that has curvature; 1 without one."""
    newest_K = torch.where(own_KM > 0, torch.arange(1, own_KM.shape[1] + 1), 0).amax(1)
    at_K1 = (newest_K - 1).clamp_min(0)[:, None]
    factor_K = own_KM.gather(1, at_K1)[:, 0] / changes_KM.gather(1, at_K1)[:, 0].clamp_min(1e-300)
    return torch.where(newest_K > 0, factor_K, 1.0)
