"""Passes over the rows: the exact gradient with its certificate, and cheap changes of the gradient.

`survey` goes through the features as given, in float64. At the slopes V it gives the loss, the gradient and a bound
on what is still to be gained, and it leaves the probabilities of every example behind. From there `change` tells in
low precision how the gradient changes along a step, and `take` makes the step the next one's start. Only changes are
rounded: the smaller the step that is left, the smaller the error, as in iterative refinement (Higham, "Accuracy and
Stability of Numerical Algorithms", chapter 12).
The bound is a duality gap. For every P' with rows in the simplex and columns that have the means of the targets,
    F(V, b) - min F <= sum_n s_n KL(p'_n || p_n) + ||sum_n s_n z_n (p'_n - t_n)' + strength V||² / (2 strength).
Newton steps on the intercepts bring the columns' means of p to those of the targets up to rounding; p' is p, mixed
with as little of a constant as takes away what is left. Logits may be float32, since their error d costs no more than
KL <= max |d|² / 2 (Hoeffding's lemma); four times the largest error in a sample is taken for max |d|.
Letters: see `logistic_rows.py`; a those problems that learn from a block.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import softplus

from transfuse.core.nouns import Kind
from transfuse.probing.logistic_rows import Block, Rows, coordinates, examples, inwards, outwards, raw, scratch, trained_on

_LOG2E = 1.4426950408889634
_EXCLUDED = -1e30
"""The logit of a class without examples."""
_EVERY = 32
"""One example in so many is computed twice, to know the rounding of the others' logits."""
_SWEEPS = 3
"""Newton steps on the intercepts in a survey."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What is known at the slopes; the tensors are brought up to date in place, problem by problem."""

    slope_KCP: Tensor
    """Float64, with the intercept last."""
    loss_K: Tensor
    """Weighted mean loss, without the penalty."""
    gradient_KCP: Tensor
    """Of that loss."""
    outside_K: Tensor
    """Squared norm of what the gradient has outside the directions of the basis."""
    curvature_KC: Tensor
    """Weighted mean of p (1 - p)."""
    held_NC: Tensor
    """Float32 logits of every example from the problem that leaves it out."""
    blur_K: Tensor
    """Largest error found in a sample of logits, where they are computed in float32."""
    probability: tuple[Tensor, ...]
    """Of every block (a, C, n), float32: p for labels, p times the weight of the example for classes."""
    tried: tuple[Tensor, ...]
    """The same where the last `change` went."""


def blank(rows: Rows, slope_KCP: Tensor) -> Survey:
    """Room for a survey, at some slopes."""
    k, c, _ = slope_KCP.shape
    shapes = [(len(trained_on(rows, block, range(k))), c, len(block.rows_n)) for block in rows.blocks]
    total = sum(8 * a * c * n for a, _, n in shapes)
    return Survey(
        slope_KCP=slope_KCP,
        loss_K=torch.zeros(k, dtype=torch.float64),
        gradient_KCP=torch.zeros_like(slope_KCP),
        outside_K=torch.zeros(k, dtype=torch.float64),
        curvature_KC=torch.zeros(k, c, dtype=torch.float64),
        blur_K=torch.zeros(k, dtype=torch.float64),
        held_NC=torch.zeros(len(rows.x_ND), c),
        probability=tuple(scratch(shape, total) for shape in shapes),
        tried=tuple(scratch(shape, total) for shape in shapes),
    )


def survey(rows: Rows, known: Survey, active: Sequence[int]) -> None:
    """Bring `known` up to date for those problems whose slopes have moved; balances their intercepts."""
    active = list(active)
    weight_KCD = known.slope_KCP[..., :-1] @ rows.vectors_DR.T / rows.scale_D
    for sums in (known.loss_K, known.blur_K, known.curvature_KC, known.gradient_KCP):
        sums[active] = 0.0
    for block, logit in zip(rows.blocks, known.probability, strict=True):
        _forward(rows, known, block, logit, weight_KCD, active)
    shift_KC = _balance(rows, known, active)
    known.slope_KCP[..., -1] += shift_KC
    gradient_KCD = torch.zeros_like(weight_KCD)
    for block, logit in zip(rows.blocks, known.probability, strict=True):
        on = trained_on(rows, block, active)
        for k in set(active) - set(on):
            known.held_NC[block.rows_n] += shift_KC[k].float()
        if on:
            _backward(rows, known, block, logit, shift_KC, gradient_KCD, on)
    _turn(rows, known, gradient_KCD, active)


def certificates(rows: Rows, known: Survey, strength: float) -> tuple[Tensor, Tensor]:
    """Objectives (K,), and bounds (K,) on how far they are above the optimal ones, relative to these."""
    slope, imbalance_KC = known.slope_KCP[..., :-1], known.gradient_KCP[..., -1].abs()
    gradient = known.gradient_KCP[..., :-1] + strength * slope
    objective_K = known.loss_K + 0.5 * strength * slope.square().sum((1, 2))
    room_KC = rows.share_KC if rows.kind == "single-label" else torch.minimum(rows.share_KC, 1 - rows.share_KC)
    mixed_K = torch.where(rows.live_KC, imbalance_KC / room_KC.clamp_min(1e-300), 0.0).amax(1)
    c = slope.shape[1]
    reach_K = (1.01 * c * rows.value_P[0] * rows.total_K.max() * 2 / rows.total_K).sqrt()
    norm_K = (gradient.square().sum((1, 2)) + known.outside_K).sqrt() + mixed_K * reach_K
    logits_K = c + 2 * known.slope_KCP[..., -1].abs().sum(1) + 2 * reach_K * slope.square().sum((1, 2)).sqrt()
    blurred_K = 8.0 * known.blur_K.square() * (1 if rows.kind == "single-label" else c)
    gap_K = norm_K.square() / (2 * strength) + mixed_K * logits_K + blurred_K
    return objective_K, torch.where(gap_K > 0, gap_K / (objective_K - gap_K).clamp_min(1e-300), 0.0)


def change(rows: Rows, known: Survey, way_KCP: Tensor, length_K: Tensor, active: Sequence[int]) -> Tensor:
    """How the gradient of the loss changes (K, C, P) a length along a way, float32; 0 for other problems.

    The way must have no more digits than `rows.dtype`, lest what is rounded off is missed by all rows alike.
    """
    inward_KCP = inwards(rows, way_KCP).to(rows.dtype)
    scale_K = length_K * _LOG2E
    sums = torch.zeros(inward_KCP.shape)
    for block, p_aCn, tried_aCn in zip(rows.blocks, known.probability, known.tried, strict=True):
        on = trained_on(rows, block, active)
        if on:
            z_nP, places = coordinates(rows, block), _places(rows, block, on)
            whole = len(places) == len(p_aCn)
            new_aCn = tried_aCn if whole else torch.empty(len(on), *p_aCn.shape[1:])
            torch.mul(_logits(inward_KCP, z_nP, on), scale_K[on][:, None, None], out=new_aCn)
            moved = _moved(rows.kind, block, p_aCn if whole else p_aCn[places], new_aCn.exp2_())
            if not whole:
                tried_aCn[places] = new_aCn
            sums.index_add_(0, torch.tensor(on), _products(moved.to(rows.dtype), z_nP).float())
    return outwards(rows, sums / rows.total_K[:, None, None].float())


def take(rows: Rows, known: Survey, taken: Sequence[int]) -> None:
    """Where the last `change` went is where the next one starts, for the problems taken."""
    for block, p_aCn, tried_aCn in zip(rows.blocks, known.probability, known.tried, strict=True):
        places = _places(rows, block, trained_on(rows, block, taken))
        if len(places) == len(p_aCn):
            p_aCn.copy_(tried_aCn)
        elif places:
            p_aCn[places] = tried_aCn[places]


def _moved(kind: Kind, block: Block, p_aCn: Tensor, power_aCn: Tensor) -> Tensor:
    """Change of the weighted probabilities; 2^change of the logits becomes the new probabilities."""
    if kind == "single-label":
        power_aCn *= p_aCn
        power_aCn *= (block.weight_n.float() / power_aCn.sum(1).clamp_min_(1e-38))[:, None]
        return power_aCn - p_aCn
    power_aCn *= p_aCn
    power_aCn /= power_aCn + (1.0 - p_aCn)
    return (power_aCn - p_aCn).mul_(block.weight_n.float())


def _logits(slope_KCP: Tensor, z_nP: Tensor, among: list[int]) -> Tensor:
    """Products of the slopes of some problems with examples, (a, C, n)."""
    return (slope_KCP[among].flatten(0, 1) @ z_nP.T).view(len(among), -1, len(z_nP))


def _products(residual_aCn: Tensor, z_nP: Tensor) -> Tensor:
    """Sums over examples of residuals times coordinates, (a, C, P)."""
    return (residual_aCn.flatten(0, 1) @ z_nP).view(*residual_aCn.shape[:2], -1)


def _places(rows: Rows, block: Block, on: list[int]) -> list[int]:
    """Where the problems are among those that learn from a block."""
    everywhere = trained_on(rows, block, range(len(rows.held)))
    return [everywhere.index(k) for k in on]


def _forward(
    rows: Rows, known: Survey, block: Block, logit: Tensor, weight_KCD: Tensor, active: Sequence[int]
) -> None:
    """Logits of a block into `logit` and, of the problem that leaves it out, into `held_NC`."""
    on = trained_on(rows, block, active)
    among = on + [k for k in active if k not in on]
    x_nD = examples(rows, block, rows.logits)
    l_aCn = _logits(weight_KCD.to(rows.logits), x_nD, among)
    if rows.logits is torch.float32:
        exact_aCm = _logits(weight_KCD, examples(rows, block, torch.float64, _EVERY), among)
        blur_a = (exact_aCm - l_aCn[..., ::_EVERY]).abs().amax((1, 2))
        known.blur_K[among] = torch.maximum(known.blur_K[among], blur_a)
    l_aCn += known.slope_KCP[among, :, -1:].to(rows.logits)
    if len(among) > len(on):
        known.held_NC[block.rows_n] = l_aCn[-1].T.float()
    if on:
        l_aCn = l_aCn[: len(on)]
        if rows.kind == "single-label":
            l_aCn.masked_fill_(~rows.live_KC[on][..., None], _EXCLUDED)
            l_aCn -= l_aCn.amax(1, keepdim=True)
        _put(logit, _places(rows, block, on), l_aCn)


def _balance(rows: Rows, known: Survey, active: Sequence[int]) -> Tensor:
    """What to add to the intercepts (K, C) so that the mean probabilities equal the shares: Newton steps.

    The first ones in float32; the last one, with the curvature of the one before, in float64.
    """
    shift_KC = torch.zeros_like(known.curvature_KC)
    for sweep in range(_SWEEPS):
        last = sweep == _SWEEPS - 1
        imbalance_KC, hessian_KCC = _imbalance(rows, known, shift_KC, active, last)
        if not last:
            inverse_KCC = _inverse(rows, hessian_KCC)
        step_KC = (inverse_KCC @ imbalance_KC[..., None])[..., 0].clamp(-2.0, 2.0) * rows.live_KC
        shift_KC[list(active)] -= step_KC[list(active)]
    if rows.kind == "single-label":  # classes do not see a constant: the mean of the intercepts is 0
        mean_K = (known.slope_KCP[..., -1] + shift_KC).where(rows.live_KC, 0.0).sum(1) / rows.live_KC.sum(1).clamp_min(1)
        shift_KC[list(active)] -= (mean_K[:, None] * rows.live_KC)[list(active)]
    return shift_KC


def _imbalance(
    rows: Rows, known: Survey, shift_KC: Tensor, active: Sequence[int], exact: bool
) -> tuple[Tensor, Tensor]:
    """Weighted mean of p - t (K, C), and unless exact the second derivatives (K, C, C) by the intercepts."""
    dtype = torch.float64 if exact else torch.float32
    imbalance_KC = torch.zeros_like(shift_KC)
    hessian_KCC = torch.zeros(*shift_KC.shape, 0 if exact else shift_KC.shape[1], dtype=torch.float64)
    for block, logit in zip(rows.blocks, known.probability, strict=True):
        on = trained_on(rows, block, active)
        if on:
            weight_n = block.weight_n.to(dtype)
            p_aCn = _probabilities(rows.kind, logit[_places(rows, block, on)].to(dtype), shift_KC[on])
            if not exact:
                hessian_KCC[on] += _curvature(rows.kind, p_aCn, weight_n)
            imbalance_KC[on] += p_aCn.sub_(block.target_Cn) @ weight_n
    return (
        imbalance_KC * (rows.live_KC / rows.total_K[:, None]),
        hessian_KCC / rows.total_K[:, None, None],
    )


def _curvature(kind: Kind, p_aCn: Tensor, weight_n: Tensor) -> Tensor:
    """Second derivatives of the loss by the intercepts, (a, C, C)."""
    if kind == "multi-label":
        return torch.diag_embed((p_aCn - p_aCn.square()) @ weight_n)
    weighted = p_aCn * weight_n
    return torch.diag_embed(weighted.sum(-1)) - weighted @ p_aCn.transpose(1, 2)


def _inverse(rows: Rows, hessian_KCC: Tensor) -> Tensor:
    """Inverse up to the direction (1, ..., 1), which classes do not see, and up to columns without an optimum."""
    size = hessian_KCC.diagonal(dim1=1, dim2=2).mean(1).clamp_min(1e-30)[:, None, None]
    dead = torch.diag_embed((~rows.live_KC).double() * size[..., 0])
    ridge = 1e-13 * size * torch.eye(hessian_KCC.shape[1], dtype=torch.float64)
    return torch.linalg.inv(hessian_KCC + dead + ridge + (size if rows.kind == "single-label" else 0.0))


def _backward(
    rows: Rows, known: Survey, block: Block, logit: Tensor, shift_KC: Tensor, gradient_KCD: Tensor, on: list[int]
) -> None:
    """Add a block to loss, gradient (by the features as given) and curvature; its logits become probabilities."""
    places, weight_n = _places(rows, block, on), block.weight_n
    l_aCn = logit[places].double()
    p_aCn = _probabilities(rows.kind, l_aCn, shift_KC[on])
    narrow_aCn = p_aCn.float()
    known.curvature_KC[on] += ((1.0 - narrow_aCn).mul_(narrow_aCn) @ weight_n.float()) / rows.total_K[on][:, None]
    if rows.kind == "single-label":
        loss_an = -(p_aCn * block.target_Cn).sum(1).clamp_min_(1e-300).log_()
        narrow_aCn *= weight_n.float()
    else:
        l_aCn += shift_KC[on][..., None]
        loss_an = ((softplus(l_aCn) - l_aCn * block.target_Cn) * rows.live_KC[on][..., None]).sum(1)
    _put(logit, places, narrow_aCn)
    known.loss_K[on] += loss_an @ weight_n / rows.total_K[on]
    residual_aCn = p_aCn.sub_(block.target_Cn).mul_(weight_n)
    share_aC1 = (rows.live_KC[on] / rows.total_K[on][:, None])[..., None]
    gradient_KCD[on] += _products(residual_aCn, raw(rows, block)) * share_aC1
    known.gradient_KCP[on, :, -1:] += residual_aCn.sum(-1, keepdim=True) * share_aC1


def _put(into: Tensor, places: list[int], values: Tensor) -> None:
    if len(places) == len(into):
        into.copy_(values)
    else:
        into[places] = values.to(into.dtype)


def _probabilities(kind: Kind, logit_aCn: Tensor, shift_aC: Tensor) -> Tensor:
    logit_aCn = logit_aCn + shift_aC[..., None].to(logit_aCn.dtype)
    return torch.softmax(logit_aCn, 1) if kind == "single-label" else torch.sigmoid(logit_aCn)


def _turn(rows: Rows, known: Survey, gradient_KCD: Tensor, active: list[int]) -> None:
    """The gradient by the features as given -> by the directions of the basis, and what lies outside them."""
    scaled = (gradient_KCD[active] - known.gradient_KCP[active, :, -1:] * rows.mean_D) / rows.scale_D
    turned = scaled @ rows.vectors_DR
    known.gradient_KCP[active, :, :-1] = turned
    if rows.vectors_DR.shape[1] < rows.vectors_DR.shape[0]:
        known.outside_K[active] = (scaled - turned @ rows.vectors_DR.T).square().sum((1, 2))
