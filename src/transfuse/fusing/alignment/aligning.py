"""Saved Models brought into one order of units, and what that did: the door of this room for `fuse`.

The first parent stays as it is; every other one is permuted so that its function is the same and its units stand where
the first one's stand. Only then does a mean of weights mean anything (arXiv 2209.04836).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn

from transfuse.core.errors import UsageError, WeightsError
from transfuse.core.nouns import Model, Task
from transfuse.core.tables import chosen
from transfuse.fusing.alignment.barrier import ALPHAS, Barrier, barrier
from transfuse.fusing.alignment.correlating import activation_matched
from transfuse.fusing.alignment.matching import weight_matched
from transfuse.fusing.alignment.permuting import Orders, identity, permuted, proven
from transfuse.fusing.alignment.repairing import mended
from transfuse.fusing.alignment.symmetry import Symmetry, symmetry_of
from transfuse.tracing.walking import Untraceable
from transfuse.training.averaging import copied
from transfuse.training.losses import chosen_loss
from transfuse.training.options import Fit
from transfuse.tuning.sampling import judged_batches, made_up, training_batches

WAYS = ("none", "weights", "activations")


@dataclass(frozen=True, kw_only=True)
class Alignment:
    """What was permuted, and what it changed."""

    way: str
    symmetry: Symmetry
    states: Mapping[str, Mapping[str, Tensor]]
    """Tensors of every parent, aligned, by path."""
    orders: Mapping[str, Orders]
    """Of every parent but the first."""
    barriers: Mapping[str, Mapping[str, Barrier]]
    """By parent: `as they are`, `aligned`, and both of them `mended`; empty without data."""
    batches: tuple[Tensor, ...] = ()
    """Training examples, with which a fusion is mended."""

    def moved(self, path: str) -> list[float]:
        """0..1 for each group: the share of its units that changed places."""
        still = identity(self.symmetry)
        return [float((own != was).mean()) for own, was in zip(self.orders[path], still, strict=True)]


def aligned(
    models: Mapping[str, Model],
    way: str,
    task: Task | None,
    *,
    alphas: Sequence[float] = ALPHAS,
    seed: int = 0,
) -> Alignment:
    """Align every Model to the first; on a task, measure barriers at `alphas`.

    Raises `UsageError`, and `WeightsError` when nothing in their network can be permuted.
    """
    chosen("way to align", way, WAYS)
    if way == "activations" and task is None:
        raise UsageError("`align` by activations must be given examples (`on`), but there are none. Align by weights.")
    first, *others = models
    network = models[first].network
    batches = training_batches(models[first], task, seed) if task is not None else ()
    symmetry = found_in(network, batches[0] if batches else made_up(models[first], seed))
    names = [name for name, _ in network.named_parameters()]
    states = {first: copied(network)}
    orders = {}
    for path in others:
        other = copied(models[path].network)
        if way == "weights":
            orders[path] = weight_matched(states[first], other, symmetry, names=names, seed=seed)
        else:
            orders[path] = activation_matched(states[first], other, symmetry, batches)
        states[path] = permuted(other, symmetry, orders[path])
    measured = {}
    if task is not None:
        for path in others:
            known = (copied(models[path].network), states[path])
            measured[path] = _barriers(models[first], known, symmetry, batches, task, alphas)
    return Alignment(
        way=way, symmetry=symmetry, states=states, orders=orders, barriers=measured, batches=tuple(batches)
    )


def found_in(network: nn.Module, sample: Tensor) -> Symmetry:
    """The proven symmetry of a network. Raises `WeightsError` when it has none that is understood."""
    try:
        symmetry = proven(network, symmetry_of(network, sample), sample)
    except Untraceable as error:
        raise WeightsError(f"The parents cannot be aligned: {error} Fuse their predictions instead.") from error
    if not symmetry.blocks:
        why = "; ".join(symmetry.unknown[:3]) or "its layers have no units that may change places"
        raise WeightsError(f"The parents cannot be aligned: nothing in their network can be permuted ({why}).")
    return symmetry


def _barriers(
    model: Model,
    others: tuple[Mapping[str, Tensor], Mapping[str, Tensor]],
    symmetry: Symmetry,
    batches: Sequence[Tensor],
    task: Task,
    alphas: Sequence[float],
) -> dict[str, Barrier]:
    """Barriers on the validation split to another parent as it is, and as it is aligned."""
    judged = judged_batches(model, task)
    loss, first = chosen_loss(task.kind, Fit()), copied(model.network)
    found = {}
    for name, other in zip(("as they are", "aligned"), others, strict=True):
        mend = partial(_mend, parents=(first, other), symmetry=symmetry, batches=batches)
        found[name] = barrier(model.network, first, other, judged, loss=loss, alphas=alphas)
        found[f"{name}, mended"] = barrier(model.network, first, other, judged, loss=loss, alphas=alphas, mend=mend)
    return found


def _mend(network: nn.Module, alpha: float, *, parents: Any, symmetry: Symmetry, batches: Sequence[Tensor]) -> None:
    a, b = parents
    mended(network, ((1 - alpha, a), (alpha, b)), symmetry, batches)
