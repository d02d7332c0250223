"""bss: batch spectral shrinkage: fine-tuning that presses on the weakest directions of the features.

Chen et al., "Catastrophic Forgetting Meets Negative Transfer", NeurIPS 2019: η·Σ σ² over the k smallest singular values
of a batch's feature matrix. Changed: computed in float32 whatever the precision of the forward pass.

Relations: may be added to any fine-tuning; `l2sp` keeps what the source knew, this unlearns what does not transfer.
"""

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


def bss(
    source: Source,
    task: Task,
    *,
    run: Run = Run(),
    fit: Fit = Fit(),
    head: HeadShape = HeadShape(),
    eta: float = 0.001,
    k: int = 1,
    layer_decay: float = 0.8,
    batch_norm: BatchNorm = "frozen",
    interpolate: bool = True,
) -> Outcome:
    """Fine-tune with `eta` on the `k` smallest squared singular values of each batch's features."""
    begin = start(source, task, head=head, fit=fit, run=run)
    bench = workbench(task, source.preprocessing, fit, probe=begin.solved)

    def objective(network: nn.Module, batch: Batch) -> Tensor:
        features_BD = begin.network.body(batch.x)
        loss = bench.weighted(begin.network.head(features_BD), batch)
        return loss + eta * smallest_singular_values(features_BD, k)

    return tuned(
        begin, bench, fit=fit, run=run, head=head, layer_decay=layer_decay, batch_norm=batch_norm,
        interpolate=interpolate, objective=objective, method="bss",
    )  # fmt: skip


def smallest_singular_values(features_BD: Tensor, k: int) -> Tensor:
    """Σ σ² over the k smallest singular values of (B, D) features; σ² are eigenvalues of the smaller Gram matrix."""
    features_BD = features_BD if features_BD.dtype == torch.float64 else features_BD.float()
    wide = features_BD.shape[0] <= features_BD.shape[1]
    gram = features_BD @ features_BD.T if wide else features_BD.T @ features_BD
    return torch.linalg.eigvalsh(gram)[:k].clamp(min=0).sum()
