"""l2sp: fine-tuning that is pulled back towards the source's weights.

Li, Grandvalet, Davoine, "Explicit Inductive Bias for Transfer Learning", arXiv 1802.01483: α/2·‖w − w_source‖² on the
body, β/2·‖w‖² on the head. Changed: nothing.

Relations: `delta` compares feature maps instead of weights; `finetune` is this with α = β = 0.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from transfuse.core.nouns import Source, Task
from transfuse.core.runs import Run
from transfuse.training.batches import Batch
from transfuse.training.options import Fit
from transfuse.transferring.methods.finetune import tuned
from transfuse.tuning.moving import BatchNorm
from transfuse.tuning.outcome import HeadShape, Outcome
from transfuse.tuning.starting import start
from transfuse.tuning.tune import workbench


def l2sp(
    source: Source,
    task: Task,
    *,
    run: Run = Run(),
    fit: Fit = Fit(),
    head: HeadShape = HeadShape(),
    alpha: float = 0.01,
    beta: float = 0.01,
    layer_decay: float = 0.8,
    batch_norm: BatchNorm = "frozen",
    interpolate: bool = True,
) -> Outcome:
    """Fine-tune with `alpha` on the distance from the source and `beta` on the size of the head."""
    begin = start(source, task, head=head, fit=fit, run=run)
    bench = workbench(task, source.preprocessing, fit, probe=begin.solved)
    moving = list(begin.network.body.parameters())
    origin = [parameter.detach().clone() for parameter in moving]

    def objective(network: nn.Module, batch: Batch) -> Tensor:
        penalty = alpha * half_squared_distance(moving, origin)
        penalty = penalty + beta * half_squared_norm(begin.network.head.parameters())
        return bench.objective(network, batch) + penalty

    return tuned(
        begin, bench, fit=fit, run=run, head=head, layer_decay=layer_decay, batch_norm=batch_norm,
        interpolate=interpolate, objective=objective, method="l2sp",
    )  # fmt: skip


def half_squared_distance(parameters: Iterable[Tensor], origin: Iterable[Tensor]) -> Tensor:
    """½·Σ‖w − w_source‖² over pairs of tensors of equal shapes."""
    squares = [(now - then.to(now.device)).pow(2).sum() for now, then in zip(parameters, origin, strict=True)]
    return 0.5 * torch.stack(squares).sum()


def half_squared_norm(parameters: Iterable[Tensor]) -> Tensor:
    """½·Σ‖w‖² over tensors."""
    return 0.5 * torch.stack([parameter.pow(2).sum() for parameter in parameters]).sum()
