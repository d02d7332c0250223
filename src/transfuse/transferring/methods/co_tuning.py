"""co_tuning: the source's own head is trained on as well, towards the source classes that each target class looks like.

You et al., "Co-Tuning for Transfer Learning", NeurIPS 2020: loss + λ·CE(p(y_source | y_target), source head). The
relationship p(y_source | y_target) is the mean of the source head's probabilities over the training examples of a
class (the paper's direct approach). Changed: the source's probabilities are used as they are when no source data
are at hand to calibrate them.

Relations: needs a source that still has its head; strongest below about 30 examples a class.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Source, Task
from transfuse.core.runs import Run
from transfuse.training.batches import Batch
from transfuse.training.options import Fit
from transfuse.transferring.methods.finetune import tuned
from transfuse.tuning.moving import BatchNorm
from transfuse.tuning.outcome import HeadShape, Outcome
from transfuse.tuning.starting import start
from transfuse.tuning.tune import Workbench, workbench


def co_tuning(
    source: Source,
    task: Task,
    *,
    run: Run = Run(),
    fit: Fit = Fit(),
    head: HeadShape = HeadShape(),
    trade_off: float = 2.3,
    layer_decay: float = 0.8,
    batch_norm: BatchNorm = "frozen",
    interpolate: bool = True,
) -> Outcome:
    """Fine-tune with `trade_off` (the paper's λ) on the source head's cross-entropy. Single-label tasks only."""
    if task.kind != "single-label":
        raise UsageError(f"co_tuning needs a single-label task, but this one is {task.kind}. Use `finetune` or `l2sp`.")
    begin = start(source, task, head=head, fit=fit, run=run)
    source_head = begin.opened.source_head
    if source_head is None:
        raise UsageError(f"co_tuning needs the head that '{source.name}' was trained with, but its weights have none.")
    bench = workbench(task, source.preprocessing, fit, probe=begin.solved)
    related_CS = relationship(
        source_probabilities(begin.network.body, source_head, bench), task.splits["train"].targets, len(task.classes)
    )
    towards_CS = torch.from_numpy(related_CS).float()

    def objective(network: nn.Module, batch: Batch) -> Tensor:
        features_BD = begin.network.body(batch.x)
        towards_BS = towards_CS.to(features_BD.device)[batch.y]
        loss = bench.weighted(begin.network.head(features_BD), batch)
        return loss + trade_off * soft_cross_entropy(source_head.to(features_BD.device)(features_BD), towards_BS)

    source_head.requires_grad_(False)
    return tuned(
        begin, bench, fit=fit, run=run, head=head, layer_decay=layer_decay, batch_norm=batch_norm,
        interpolate=interpolate, objective=objective, method="co_tuning",
    )  # fmt: skip


def relationship(probabilities_NS: np.ndarray, y_N: np.ndarray, classes: int) -> np.ndarray:
    """p(source class | target class), (C, S): means of the source's probabilities; uniform for an empty class."""
    uniform_S = np.full(probabilities_NS.shape[1], 1 / probabilities_NS.shape[1])
    return np.stack([probabilities_NS[y_N == c].mean(0) if (y_N == c).any() else uniform_S for c in range(classes)])


def soft_cross_entropy(logits_BS: Tensor, towards_BS: Tensor) -> Tensor:
    """Mean over the batch of −Σ p·log softmax(logits)."""
    return -(towards_BS * F.log_softmax(logits_BS.float(), dim=1)).sum(1).mean()


def source_probabilities(body: nn.Module, source_head: nn.Module, bench: Workbench) -> np.ndarray:
    """What the source's own head says of every training example, float32 (N, S)."""
    body.eval()
    with torch.inference_mode():
        blocks = [
            torch.softmax(source_head(body(bench.train_inputs.take(places, None))).float(), dim=1).numpy()
            for places in np.array_split(np.arange(len(bench.train_inputs)), max(1, len(bench.train_inputs) // 64))
        ]
    return np.concatenate(blocks)
