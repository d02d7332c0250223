"""Surveys: the loss, its gradient, and a bound on what is still to be gained, in float64 from the features as given.

The bound is a duality gap. For every P' with rows in the simplex and columns that have the means of the targets,
    F(V, b) - min F <= sum_n s_n KL(p'_n || p_n) + ||sum_n s_n z_n (p'_n - t_n)' + strength V||² / (2 strength).
Newton steps on the intercepts bring the columns' means of p to those of the targets up to rounding; p' is p as its odds
are kept, mixed with as little of a constant as takes away what is left. Errors of up to e in the odds' logarithms cost
KL <= e² / 2 · exp(2 e) (1 - p of the own class), and the last factor is no larger than the loss: along the way from p
to p' the second derivative of KL is the variance of the errors, of which the own class has none.
Letters: see `rows.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from transfuse.probing.logistic.passes import (
    Odds,
    at,
    blank_odds,
    largest,
    logits,
    multiplied,
    places,
    products,
    put,
    relative,
    residuals,
    visits,
)
from transfuse.probing.logistic.rows import Block, Rows, features, inwards, outwards
from transfuse.probing.logistic.searching import Hill, Pairs, search

EVERY = 32
"""One example in so many is computed twice, to know the rounding of float32."""
FLAT = 1e-7
"""Least curvature of a column."""
_SWEEPS, _BALANCED = 6, 1e-5
"""Newton steps on the intercepts in a survey at most, and the relative imbalance before the last one."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What is known at the slopes; the tensors are float64 and brought up to date in place, problem by problem."""

    slope_KCP: Tensor
    """With the intercept last."""
    loss_K: Tensor
    """Weighted mean loss, without the penalty."""
    gradient_KCP: Tensor
    """Of that loss."""
    missed_K: Tensor
    """Norm of what the gradient has outside the basis."""
    curvature_KC: Tensor
    """Weighted mean of p (1 - p)."""
    blur_K: Tensor
    """Largest error of the logarithm of odds."""
    held_NC: Tensor
    """Float32 logits of every example from the problem that leaves it out."""
    odds: Odds
    pairs: Pairs
    """Of searches in the leading directions."""


def blank(rows: Rows, slope_KCP: Tensor) -> Survey:
    """Room for a survey, at some slopes."""
    k, c, _ = slope_KCP.shape
    zero_K, zero_KC = torch.zeros(k, dtype=torch.float64), torch.zeros(k, c, dtype=torch.float64)
    return Survey(
        slope_KCP=slope_KCP,
        loss_K=zero_K.clone(),
        gradient_KCP=torch.zeros_like(slope_KCP),
        missed_K=zero_K.clone(),
        curvature_KC=zero_KC,
        blur_K=zero_K,
        held_NC=torch.zeros(len(rows.x_ND), c),
        odds=blank_odds(rows),
        pairs=[],
    )


def survey(rows: Rows, known: Survey, active: Sequence[int], strength: float, aim_K: Tensor | None = None) -> None:
    """Bring `known` up to date for those problems whose slopes have moved, and balance their intercepts.

    With an aim, slopes are moved along the leading directions until these have no larger share of the bound.
    """
    active = list(active)
    if rows.kind == "single-label":  # what all classes share costs penalty and changes nothing
        live_KC1 = rows.live_KC[..., None].double()
        mean_K1P = (known.slope_KCP * live_KC1).sum(1, keepdim=True) / live_KC1.sum(1, keepdim=True).clamp_min(1)
        known.slope_KCP[active] -= (mean_K1P * live_KC1)[active]
    _forward(rows, known, active)
    if aim_K is not None:
        hill, at_KX = _leading(rows, known, active, strength, aim_K)
        step_KX, _ = search(rows, known.odds, hill, known.pairs, active, "top")
        known.slope_KCP[..., [*range(rows.top), -1]] += step_KX.view(at_KX).double()
    shift_KC = _balance(rows, known, active)
    known.slope_KCP[..., -1] += shift_KC
    _backward(rows, known, active, shift_KC)


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
    gap_K = (
        norm_K.square() / (2 * strength)
        + mixed_K * logits_K
        + known.loss_K * known.blur_K.square() / 2 * (2 * known.blur_K).exp()
    )
    return objective_K, torch.where(gap_K > 0, gap_K / (objective_K - gap_K).clamp_min(1e-300), 0.0)


def _forward(rows: Rows, known: Survey, active: list[int]) -> None:
    """Odds, and the logits of what is left out."""
    inward_KCE, limit = inwards(rows, known.slope_KCP), largest(rows)
    known.blur_K[active] = 0.0
    for block, here in zip(rows.blocks, known.odds.here, strict=True):
        on, where = places(rows, block, active)
        out = [k for k in active if rows.held[k] == block.fold]
        if not on + out:
            continue
        logit_aCn = logits(inward_KCE[on + out], features(rows, block, rows.survey_dtype), torch.float64)
        if out:
            known.held_NC[block.rows_n] = logit_aCn[-1].T.float()
        if on:
            error_a = _rounding(rows, block, inward_KCE[on], logit_aCn[: len(on)])
            logit_aCn = relative(rows, block, logit_aCn[: len(on)]).mul_(block.weight_n > 0)  # others may lie anywhere
            logit_aCn.masked_fill_(~rows.live_KC[on][..., None], -torch.inf)
            far_a = logit_aCn.nan_to_num(neginf=0.0).abs().amax((1, 2))
            far_a = (
                2 * torch.finfo(here.dtype).eps * (4 + far_a)
                + (logit_aCn.amax((1, 2)) - limit).clamp_min(0.0)
                + error_a
            )
            known.blur_K[on] = torch.maximum(known.blur_K[on], far_a)
            one_aCn = 1.0 - block.target_Cn if rows.kind == "single-label" else torch.ones_like(block.target_Cn)
            put(here, where, multiplied(rows, one_aCn, logit_aCn.to(here.dtype)))


def _rounding(rows: Rows, block: Block, inward_aCE: Tensor, logit_aCn: Tensor) -> Tensor:
    """Four times the largest error that a sample of the logits has (a,)."""
    if rows.survey_dtype is torch.float64:
        return torch.zeros(len(logit_aCn), dtype=torch.float64)
    exact_aCm = logits(inward_aCE, features(rows, block, torch.float64, EVERY), torch.float64)
    return 4 * (exact_aCm - logit_aCn[..., ::EVERY]).abs().amax((1, 2))


def _leading(
    rows: Rows, known: Survey, active: list[int], strength: float, aim_K: Tensor
) -> tuple[Hill, tuple[int, int, int]]:
    """Where a search in the leading directions begins."""
    columns, (k, c, _) = [*range(rows.top), -1], known.slope_KCP.shape
    gradient_KCQ = torch.zeros(k, c, rows.top + 1, dtype=rows.odds_dtype)
    for block, on, where, here, _ in visits(rows, known.odds, active):
        gradient_KCQ[on] += products(residuals(rows, block, at(here, where)), block.top_nT)
    penalty_Q = torch.full((rows.top + 1,), strength, dtype=rows.odds_dtype)
    penalty_Q[-1] = 0.0
    gradient_KCQ /= rows.total_K[:, None, None]
    gradient_KCQ += penalty_Q * known.slope_KCP[..., columns]
    curvature_KC1 = known.curvature_KC.clamp_min(FLAT).to(rows.odds_dtype)[..., None]
    hill = Hill(
        gradient_KX=gradient_KCQ.flatten(1),
        penalty_X=penalty_Q.repeat(c),
        inverse_KX=(1.0 / (curvature_KC1 * rows.value_P[columns] + penalty_Q)).flatten(1),
        measure_KX=(penalty_Q > 0).to(rows.odds_dtype).div(2 * strength).repeat(k, c),
        aim_K=aim_K,
    )
    return hill, (k, c, rows.top + 1)


def _balance(rows: Rows, known: Survey, active: list[int]) -> Tensor:
    """What to add to the intercepts (K, C) so that the mean probabilities equal the shares: Newton steps."""
    shift_KC = torch.zeros_like(known.curvature_KC)
    for _ in range(_SWEEPS):
        imbalance_KC, hessian_KCC = _imbalance(rows, known, active, shift_KC)
        step_KC = (_inverse(rows, hessian_KCC) @ imbalance_KC[..., None])[..., 0].clamp(-2.0, 2.0)
        shift_KC[active] -= (step_KC * rows.live_KC)[active]
        if bool((imbalance_KC.abs() <= _BALANCED * rows.share_KC)[active].all()):
            break
    return shift_KC


def _shifted(rows: Rows, block: Block, odds_aCn: Tensor, shift_aC: Tensor) -> Tensor:
    """Odds in float64 after a shift of the intercepts."""
    more_aC1, less_aC, target_Cn = shift_aC.exp()[..., None], (-shift_aC).exp(), block.target_Cn.double()
    if rows.kind == "single-label":
        return odds_aCn.double().mul_(more_aC1).mul_((less_aC @ target_Cn)[:, None])
    return odds_aCn.double().mul_(torch.where(target_Cn > 0, less_aC[..., None], more_aC1))


def _imbalance(rows: Rows, known: Survey, active: list[int], shift_KC: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean of p - t (K, C), and the second derivatives (K, C, C) by the intercepts."""
    imbalance_KC = torch.zeros_like(known.curvature_KC)
    hessian_KCC = torch.zeros(*imbalance_KC.shape, imbalance_KC.shape[1], dtype=torch.float64)
    for block, on, where, here, _ in visits(rows, known.odds, active):
        residual_aCn = residuals(rows, block, _shifted(rows, block, at(here, where), shift_KC[on]))
        imbalance_KC[on] += residual_aCn.sum(-1)
        weight_n, target_Cn = block.weight_n.double(), block.target_Cn.double()
        weighted_aCn = residual_aCn.addcmul_(target_Cn, weight_n)  # weights times p
        if rows.kind == "single-label":
            p_aCn = weighted_aCn / weight_n.clamp_min(1e-300)
            hessian_KCC[on] += torch.diag_embed(weighted_aCn.sum(-1)) - weighted_aCn @ p_aCn.transpose(1, 2)
        else:
            hessian_KCC[on] += torch.diag_embed(
                (weighted_aCn - weighted_aCn.square() / weight_n.clamp_min(1e-300)).sum(-1)
            )
    return imbalance_KC * (rows.live_KC / rows.total_K[:, None]), hessian_KCC / rows.total_K[:, None, None]


def _inverse(rows: Rows, hessian_KCC: Tensor) -> Tensor:
    """Inverse up to the direction (1, ..., 1), which classes do not see, and up to columns without an optimum."""
    size = hessian_KCC.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-30)[:, None, None]
    dead = torch.diag_embed((~rows.live_KC).double() * size[..., 0])
    ridge = 1e-13 * size * torch.eye(hessian_KCC.shape[1], dtype=torch.float64)
    return torch.linalg.inv(hessian_KCC + dead + ridge + (size if rows.kind == "single-label" else 0.0))


def _backward(rows: Rows, known: Survey, active: list[int], shift_KC: Tensor) -> None:
    """Loss, gradient and curvature."""
    sums_KCE = torch.zeros(*known.curvature_KC.shape, rows.x_ND.shape[1] + 1, dtype=torch.float64)
    errors_KCE = torch.zeros_like(sums_KCE)
    for target in (known.loss_K, known.curvature_KC):
        target[active] = 0.0
    for block, on, where, here, _ in visits(rows, known.odds, active):
        odds_aCn = _shifted(rows, block, at(here, where), shift_KC[on])
        put(here, where, odds_aCn)
        weight_n = block.weight_n.double()
        total_a = rows.total_K[on]
        odds_aBn = odds_aCn.sum(1, keepdim=True) if rows.kind == "single-label" else odds_aCn
        known.loss_K[on] += odds_aBn.log1p().sum(1) @ weight_n / total_a
        residual_aCn = residuals(rows, block, odds_aCn)
        spread_aC = residual_aCn.abs().sum(-1) - residual_aCn.square() @ (1.0 / weight_n.clamp_min(1e-300))
        known.curvature_KC[on] += spread_aC / total_a[:, None]
        z_nD = features(rows, block, rows.survey_dtype)
        sums_KCE[on] += products(residual_aCn, z_nD)
        if rows.survey_dtype is not torch.float64:
            sample_aCm, z_mD = residual_aCn[..., ::EVERY], features(rows, block, torch.float64, EVERY)
            errors_KCE[on] += products(sample_aCm, z_mD) - products(sample_aCm, z_nD[::EVERY])
    share_KC1 = (rows.live_KC / rows.total_K[:, None])[..., None]
    known.gradient_KCP[active] = (outwards(rows, sums_KCE) * share_KC1)[active]
    scaled_KCD, errors_KCP = sums_KCE[..., :-1] * rows.inverse_D * share_KC1, outwards(rows, errors_KCE) * share_KC1
    outside_KCD = scaled_KCD - known.gradient_KCP[..., :-1] @ rows.vectors_DR.T
    missed_K = outside_KCD.square().sum((1, 2)).sqrt() + EVERY * errors_KCP[..., :-1].square().sum((1, 2)).sqrt()
    known.missed_K[active] = missed_K[active]
