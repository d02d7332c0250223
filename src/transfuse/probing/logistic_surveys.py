"""Surveys: the exact loss and gradient, and a bound on what is still to be gained.

A survey goes through the features as given, and adds in float64. The bound is a duality gap. For every P' with rows in
the simplex and columns that have the means of the targets,
    F(V, b) - min F <= sum_n s_n KL(p'_n || p_n) + ||sum_n s_n z_n (p'_n - t_n)' + strength V||² / (2 strength).
Newton steps on the intercepts bring the columns' means of p to those of the targets up to rounding; p' is p, mixed
with as little of a constant as takes away what is left. Probabilities are float64. The products before and after them
may be float32: then a sample of the examples is computed in float64 too, and four times the errors found in its logits
cost KL <= (largest - smallest error)² / 8 (Hoeffding's lemma); the error of its share of the gradient is added, as if
all other shares' errors pointed the same way.
Letters: see `logistic_rows.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from transfuse.core.nouns import Kind
from transfuse.probing.logistic_passes import Probabilities, at, blank_probabilities, logits, places, products, put
from transfuse.probing.logistic_polishing import Polisher, blank_polisher, polish
from transfuse.probing.logistic_rows import EVERY, Block, Rows, features, inwards, outwards, wide

_EXCLUDED = -1e30
"""The logit of a class without examples."""
_SWEEPS, _NARROW = 7, 3
"""Newton steps on the intercepts in a survey at most, and of these in float32."""
_NEAR, _BALANCED = 1e-4, 1e-9
"""The size of a step after which the next is made in float64, and the relative imbalance before the last one."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What is known at the slopes; the tensors are brought up to date in place, problem by problem."""

    slope_KCP: Tensor
    """Float64, with the intercept last."""
    loss_K: Tensor
    """Weighted mean loss, without the penalty."""
    gradient_KCP: Tensor
    """Of that loss."""
    missed_K: Tensor
    """Norm of what the gradient may have by rounding, or has outside the basis."""
    curvature_KC: Tensor
    """Weighted mean of p (1 - p)."""
    blur_K: Tensor
    """Mean squared range of the errors that were found in a sample of logits."""
    held_NC: Tensor
    """Float32 logits of every example from the problem that leaves it out."""
    probabilities: Probabilities
    polisher: list[Polisher]
    """One."""


def blank(rows: Rows, slope_KCP: Tensor) -> Survey:
    """Room for a survey, at some slopes."""
    k, c, _ = slope_KCP.shape
    return Survey(
        slope_KCP=slope_KCP,
        loss_K=torch.zeros(k, dtype=torch.float64),
        gradient_KCP=torch.zeros_like(slope_KCP),
        missed_K=torch.zeros(k, dtype=torch.float64),
        curvature_KC=torch.zeros(k, c, dtype=torch.float64),
        blur_K=torch.zeros(k, dtype=torch.float64),
        held_NC=torch.zeros(len(rows.x_ND), c),
        probabilities=blank_probabilities(rows),
        polisher=[blank_polisher(rows)],
    )


def survey(
    rows: Rows, known: Survey, active: Sequence[int], strength: float = 0.0, aim_K: Tensor | None = None
) -> None:
    """Bring `known` up to date for those problems whose slopes have moved, and balance their intercepts.

    With an aim, slopes are polished until their share of the bound is no larger than that.
    """
    active = list(active)
    turned = rows.turned_wide and not rows.exact
    for sums in (known.loss_K, known.blur_K, known.curvature_KC, known.missed_K):
        sums[active] = 0.0
    if rows.kind == "single-label":  # what all classes share costs penalty and changes nothing
        live_KC1 = rows.live_KC[..., None].double()
        mean_K1P = (known.slope_KCP * live_KC1).sum(1, keepdim=True) / live_KC1.sum(1, keepdim=True).clamp_min(1)
        known.slope_KCP[active, :, :-1] -= (mean_K1P * live_KC1)[active, :, :-1]
    _forward(rows, known, active, turned)
    if aim_K is not None and not rows.exact:
        last = known.polisher[0]
        known.polisher[0] = polish(rows, known.slope_KCP, known.probabilities, last, strength, aim_K, active)
    shift_KC = _balance(rows, known, active)
    known.slope_KCP[..., -1] += shift_KC
    _hold(rows, known, active, shift_KC, turned)
    _backward(rows, known, active, shift_KC, turned)


def certificates(rows: Rows, known: Survey, strength: float) -> tuple[Tensor, Tensor]:
    """Objectives (K,), and bounds (K,) on how far they are above the optimal ones, relative to these."""
    slope, imbalance_KC = known.slope_KCP[..., :-1], known.gradient_KCP[..., -1].abs()
    gradient = known.gradient_KCP[..., :-1] + strength * slope
    objective_K = known.loss_K + 0.5 * strength * slope.square().sum((1, 2))
    room_KC = rows.share_KC if rows.kind == "single-label" else torch.minimum(rows.share_KC, 1 - rows.share_KC)
    mixed_K = torch.where(rows.live_KC, imbalance_KC / room_KC.clamp_min(1e-300), 0.0).amax(1)
    c = slope.shape[1]
    reach_K = (1.01 * c * rows.value_P[0] * rows.total_K.max() * 2 / rows.total_K).sqrt()
    logits_K = c + 2 * known.slope_KCP[..., -1].abs().sum(1) + 2 * reach_K * slope.square().sum((1, 2)).sqrt()
    norm_K = gradient.square().sum((1, 2)).sqrt() + known.missed_K + mixed_K * reach_K
    gap_K = norm_K.square() / (2 * strength) + mixed_K * logits_K + 4.0**2 / 8 * known.blur_K
    return objective_K, torch.where(gap_K > 0, gap_K / (objective_K - gap_K).clamp_min(1e-300), 0.0)


def _forward(rows: Rows, known: Survey, active: list[int], turned: bool) -> None:
    """Logits in the place of probabilities."""
    inward_KCQ = inwards(rows, known.slope_KCP, turned=turned)
    for block, logit in zip(rows.blocks, known.probabilities.here, strict=True):
        where = places(block, active)
        if where:
            on, z_nQ = [block.on[w] for w in where], _seen(rows, block)
            put(logit, where, _kept(rows, logits(inward_KCQ[on].to(z_nQ.dtype), z_nQ), rows.live_KC[on]))


def _hold(rows: Rows, known: Survey, active: list[int], shift_KC: Tensor, turned: bool) -> None:
    """Logits of what was left out into `held_NC`, and the errors of a sample of all others."""
    inward_KCQ = inwards(rows, known.slope_KCP, turned)
    for block, logit in zip(rows.blocks, known.probabilities.here, strict=True):
        for k, left_n in block.left:
            if k in active:
                z_nQ = _seen(rows, block)[left_n]
                known.held_NC[_of(block, left_n)] = logits(inward_KCQ[k : k + 1].to(z_nQ.dtype), z_nQ)[0].T.float()
        where = places(block, active)
        if where and not rows.exact:
            on = [block.on[w] for w in where]
            here_aCm = at(logit, where)[..., ::EVERY] + shift_KC[on][..., None]
            error_aCm = logits(known.slope_KCP[on], block.sample_mP) - here_aCm
            weight_am = at(block.weight_an, where)[:, ::EVERY]
            known.blur_K[on] += (_ranges(rows, error_aCm, on) * weight_am).sum(1) * EVERY / rows.total_K[on]


def _ranges(rows: Rows, error_aCm: Tensor, on: list[int]) -> Tensor:
    """Squared ranges of the errors of logits (a, m); for labels, which are each measured from 0, their sum."""
    live_aC1 = rows.live_KC[on][..., None]
    if rows.kind == "multi-label":
        return (error_aCm * live_aC1).square().sum(1)
    low_am, high_am = (error_aCm.masked_fill(~live_aC1, end) for end in (torch.inf, -torch.inf))
    return (high_am.amax(1) - low_am.amin(1)).square().nan_to_num_(0.0, 0.0, 0.0)


def _seen(rows: Rows, block: Block) -> Tensor:
    """The examples from which gradients are made."""
    return features(rows, block, torch.float64) if rows.exact else wide(rows, block)


def _kept(rows: Rows, l_aCn: Tensor, live_aC: Tensor) -> Tensor:
    """Logits, for classes less their largest one: what is left of them in float32 is what matters."""
    if rows.kind == "single-label":
        if not live_aC.all():
            l_aCn.masked_fill_(~live_aC[..., None], _EXCLUDED)
        l_aCn -= l_aCn.amax(1, keepdim=True)
    return l_aCn


def _of(block: Block, left_n: Any) -> Any:
    """Places in `x_ND` of some of a block's examples."""
    return left_n if isinstance(block.rows_n, slice) else block.rows_n[left_n]


def _balance(rows: Rows, known: Survey, active: list[int]) -> Tensor:
    """What to add to the intercepts (K, C) so that the mean probabilities equal the shares: Newton steps.

    The first ones are made in float32, those after them, with the curvature of the last one, in float64.
    """
    shift_KC, inverse_KCC, exact = torch.zeros_like(known.curvature_KC), None, False
    for sweep in range(_SWEEPS):
        imbalance_KC, hessian_KCC = _imbalance(rows, known, shift_KC, active, exact)
        if inverse_KCC is None or not exact:
            inverse_KCC = _inverse(rows, hessian_KCC)
        step_KC = (inverse_KCC @ imbalance_KC[..., None])[..., 0].clamp(-2.0, 2.0) * rows.live_KC
        shift_KC[active] -= step_KC[active]
        if exact and bool((imbalance_KC.abs() <= _BALANCED * rows.share_KC)[active].all()):
            break
        exact = exact or sweep == _NARROW - 1 or bool((step_KC.abs() <= _NEAR).all())
    if rows.kind == "single-label":  # classes do not see a constant: the mean of the intercepts is 0
        mean_K = (known.slope_KCP[..., -1] + shift_KC).where(rows.live_KC, 0.0).sum(1) / rows.live_KC.sum(1).clamp_min(
            1
        )
        shift_KC[active] -= (mean_K[:, None] * rows.live_KC)[active]
    return shift_KC


def _imbalance(
    rows: Rows, known: Survey, shift_KC: Tensor, active: Sequence[int], exact: bool
) -> tuple[Tensor, Tensor]:
    """Weighted mean of p - t (K, C), and unless exact the second derivatives (K, C, C) by the intercepts."""
    imbalance_KC = torch.zeros_like(shift_KC)
    hessian_KCC = torch.zeros(*shift_KC.shape, 0 if exact else shift_KC.shape[1], dtype=torch.float64)
    for block, logit in zip(rows.blocks, known.probabilities.here, strict=True):
        where = places(block, active)
        on = [block.on[w] for w in where]
        if on:
            weight_an = at(block.weight_an if exact else block.narrow_an, where)
            logit_aCn = at(logit, where)
            p_aCn = _probabilities(rows.kind, logit_aCn.double() if exact else logit_aCn, shift_KC[on])
            if not exact:
                hessian_KCC[on] += _curvature(rows.kind, p_aCn, weight_an)
            imbalance_KC[on] += _summed(p_aCn.sub_(block.target_Cn), weight_an)
    return imbalance_KC * (rows.live_KC / rows.total_K[:, None]), hessian_KCC / rows.total_K[:, None, None]


def _curvature(kind: Kind, p_aCn: Tensor, weight_an: Tensor) -> Tensor:
    """Second derivatives of the loss by the intercepts, (a, C, C)."""
    if kind == "multi-label":
        return torch.diag_embed(_summed(p_aCn - p_aCn.square(), weight_an))
    weighted = p_aCn * weight_an[:, None]
    return torch.diag_embed(weighted.sum(-1)) - weighted @ p_aCn.transpose(1, 2)


def _inverse(rows: Rows, hessian_KCC: Tensor) -> Tensor:
    """Inverse up to the direction (1, ..., 1), which classes do not see, and up to columns without an optimum."""
    size = hessian_KCC.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-30)[:, None, None]
    dead = torch.diag_embed((~rows.live_KC).double() * size[..., 0])
    ridge = 1e-13 * size * torch.eye(hessian_KCC.shape[1], dtype=torch.float64)
    return torch.linalg.inv(hessian_KCC + dead + ridge + (size if rows.kind == "single-label" else 0.0))


def _backward(rows: Rows, known: Survey, active: list[int], shift_KC: Tensor, turned: bool) -> None:
    """Loss, gradient and curvature; logits become probabilities."""
    sums_KCQ = torch.zeros(*shift_KC.shape, (rows.value_P if turned else rows.mean_D).numel() + (not turned)).double()
    sample_KCQ, exact_KCP, balance_KC = sums_KCQ.clone(), torch.zeros_like(known.slope_KCP), torch.zeros_like(shift_KC)
    for block, logit in zip(rows.blocks, known.probabilities.here, strict=True):
        where = places(block, active)
        if where:
            on, z_nQ = [block.on[w] for w in where], _seen(rows, block)
            residual_aCn = _residuals(rows, known, block, logit, where, shift_KC)
            seen_aCn = residual_aCn.to(z_nQ.dtype)
            sums_KCQ[on] += products(seen_aCn, z_nQ)
            balance_KC[on] += residual_aCn.sum(-1)
            if not rows.exact:
                sample_KCQ[on] += products(seen_aCn[..., ::EVERY], z_nQ[::EVERY])
                exact_KCP[on] += products(residual_aCn[..., ::EVERY], block.sample_mP)
    share_KC1 = (rows.live_KC / rows.total_K[:, None])[..., None]
    gradient_KCP = outwards(rows, sums_KCQ, turned)
    known.gradient_KCP[active] = (gradient_KCP * share_KC1)[active]
    known.gradient_KCP[active, :, -1] = (balance_KC * share_KC1[..., 0])[active]
    if rows.exact:
        spanned_KCD = gradient_KCP[..., :-1] @ rows.vectors_DR.T
        missed = (sums_KCQ[..., :-1] * rows.inverse_D - spanned_KCD) * share_KC1
    else:
        missed = EVERY * share_KC1 * (exact_KCP - outwards(rows, sample_KCQ, turned))[..., :-1]
    known.missed_K[active] = missed.square().sum((1, 2)).sqrt()[active]


def _residuals(rows: Rows, known: Survey, block: Block, logit: Tensor, where: list[int], shift_KC: Tensor) -> Tensor:
    """Weighted p - t (a, C, n) in float64; adds to loss and curvature, and turns logits into probabilities."""
    on, weight_an, narrow_an = [block.on[w] for w in where], at(block.weight_an, where), at(block.narrow_an, where)
    l_aCn = at(logit, where).double()
    p_aCn = _probabilities(rows.kind, l_aCn, shift_KC[on])
    narrow_aCn = p_aCn.float()
    known.curvature_KC[on] += _summed((1.0 - narrow_aCn).mul_(narrow_aCn), narrow_an) / rows.total_K[on][:, None]
    if rows.kind == "single-label":
        loss_an = -(p_aCn * block.target_Cn).sum(1).clamp_min_(1e-300).log_()
        narrow_aCn *= narrow_an[:, None]
    else:
        l_aCn += shift_KC[on][..., None]
        loss_an = ((softplus(l_aCn) - l_aCn * block.target_Cn) * rows.live_KC[on][..., None]).sum(1)
    put(logit, where, narrow_aCn)
    known.loss_K[on] += (loss_an * weight_an).sum(1) / rows.total_K[on]
    return p_aCn.sub_(block.target_Cn).mul_(weight_an[:, None])


def _probabilities(kind: Kind, logit_aCn: Tensor, shift_aC: Tensor) -> Tensor:
    logit_aCn = logit_aCn + shift_aC[..., None].to(logit_aCn.dtype)
    return torch.softmax(logit_aCn, 1) if kind == "single-label" else torch.sigmoid(logit_aCn)


def _summed(values_aCn: Tensor, weight_an: Tensor) -> Tensor:
    """Weighted sums over examples, (a, C)."""
    if len(weight_an) == 1:
        return (values_aCn @ weight_an[0]).double()
    return (values_aCn @ weight_an[..., None])[..., 0].double()
