"""Saved Models brought into one order of units, and what that did: the door of this room for `fuse`.

The first parent stays as it is; every other one is permuted so that its function is the same and its units stand where
the first one's stand. Only then does a mean of weights mean anything (arXiv 2209.04836).
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transfuse.core.errors import UsageError, WeightsError
from transfuse.core.nouns import Model, Task
from transfuse.core.randomness import key
from transfuse.core.tables import chosen
from transfuse.fusing.alignment.barrier import ALPHAS, Barrier, barrier
from transfuse.fusing.alignment.correlating import activation_matched
from transfuse.fusing.alignment.matching import weight_matched
from transfuse.fusing.alignment.permuting import Orders, identity, permuted, proven
from transfuse.fusing.alignment.repairing import mended
from transfuse.fusing.alignment.symmetry import Symmetry, symmetry_of
from transfuse.sources import inputs
from transfuse.tasks.joining import drawn, taken
from transfuse.tracing.walking import Untraceable
from transfuse.training.averaging import copied
from transfuse.training.losses import chosen_loss
from transfuse.training.options import Fit

WAYS = ("none", "weights", "activations")
_BATCH, _BATCHES = 64, 16
_JUDGED = 1024
"""Most examples on which barriers are measured."""


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
    symmetry = found_in(network, batches[0] if batches else _made_up(models[first], seed))
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


def _made_up(model: Model, seed: int) -> Tensor:
    """Something of the right shape: noise, or for token ids what stands for an empty text."""
    blank = inputs.blank(model.preprocessing, 4)
    if not blank.is_floating_point():
        return blank
    return torch.randn(blank.shape, generator=torch.Generator().manual_seed(key(seed, "made-up examples")))


def training_batches(model: Model, task: Task, seed: int) -> list[Tensor]:
    """Training examples, all batches of one shape; what the network is given."""
    items = drawn(task.splits["train"], seed, "examples to align on", _BATCH * _BATCHES).items
    batches = list(inputs.batches(items, model.preprocessing, min(_BATCH, len(items))))
    shape = Counter(batch.shape for batch in batches).most_common(1)[0][0]
    return [batch for batch in batches if batch.shape == shape]


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


def judged_batches(model: Model, task: Task) -> list[tuple[Tensor, Tensor]]:
    """Validation examples with targets as the loss wants them; those on which barriers are measured."""
    valid = task.splits["valid"]
    given = taken(valid, np.arange(len(valid))[:_JUDGED])
    targets = torch.from_numpy(np.asarray(given.targets))
    targets = _standardised(targets, model) if task.kind == "regression" else targets
    rows = (targets[torch.from_numpy(own)] for own in inputs.blocks(given.items, model.preprocessing, _BATCH))
    return list(zip(inputs.batches(given.items, model.preprocessing, _BATCH), rows, strict=True))


def _mend(network: nn.Module, alpha: float, *, parents: Any, symmetry: Symmetry, batches: Sequence[Tensor]) -> None:
    a, b = parents
    mended(network, ((1 - alpha, a), (alpha, b)), symmetry, batches)


def _standardised(values: Tensor, model: Model) -> Tensor:
    mean, deviation = (torch.tensor(own, dtype=torch.float64) for own in model.target_scale or ((0.0,), (1.0,)))
    return ((values.double() - mean) / deviation).float()
