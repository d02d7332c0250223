"""pretrained: the network for tables learns from rows without labels first, then all of it from those with labels.

Cells are swapped for those of other rows and the network tells what stood there (see `sources.tables.masking`;
Rubachev et al., arXiv 2207.03208, with the corruption of SCARF, arXiv 2106.15147); then it is trained as `scratch` is,
under a new head, so that at one `rate` the start is all that differs.

Relations: `scratch` without the first part; `finetune` starts from labels of another table.
Letters: N rows, K slots.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transfuse.core.digests import of_bytes
from transfuse.core.errors import UsageError
from transfuse.core.nouns import Source, TablePreprocessing, Task
from transfuse.core.randomness import key
from transfuse.core.runs import Run
from transfuse.sources.inputs import tensor_of
from transfuse.sources.network import Network
from transfuse.sources.opening import keyed_weights, open_source
from transfuse.sources.tables.masking import Corrupted, Reconstructing
from transfuse.sources.tables.network import TabularBody
from transfuse.sources.tables.references import widened
from transfuse.tasks.tables.encoding import slots_of
from transfuse.tasks.tables.unlabelled import unlabelled_rows
from transfuse.training.batches import Batch, Batches
from transfuse.training.loop import Group, Metrics, Moves
from transfuse.training.options import Fit
from transfuse.tuning.moving import layerwise
from transfuse.tuning.outcome import HeadShape, Outcome
from transfuse.tuning.planning import Job, planned
from transfuse.tuning.starting import seeded_head
from transfuse.tuning.targets import require_splits, target_scale
from transfuse.tuning.tune import tune, workbench

_BATCH = 128
_PASSES = 60  # over the rows, at most; it stops early
_RATE = 1e-3
"""Of both parts, when none is given: larger ones, which a short search of the second part prefers, undo the first."""
_SHARE_OF_TIME = 0.5
_HELD = 0.1
"""Share of the rows on which it is seen when to stop."""
_FEWEST = 20


def pretrained(
    source: Source,
    task: Task,
    *,
    run: Run = Run(),
    fit: Fit = Fit(),
    head: HeadShape = HeadShape(),
    unlabelled: str = "",
    pretraining_steps: int = 0,
    corrupted: float = 0.3,
) -> Outcome:
    """Learn what cells say about each other, then the task, all layers at one rate.

    `unlabelled` is a file or a database of rows with the task's columns, of which the target is not read; the task's
    training rows always take part. `corrupted` (0..1) is the share of cells that are swapped. `pretraining_steps` (0:
    60 passes, 500 to 10,000 steps) stop early on a tenth of the rows that is held out.
    """
    if not 0 < corrupted < 1:
        raise UsageError(f"`corrupted` must lie between 0 and 1, but is {corrupted}.")
    if "tabular" not in source.builder:
        raise UsageError("`pretrained` is for the network for tables. Use the source 'table:network'.")
    require_splits(task)
    source, x_NK = _rows(source, task, unlabelled)
    opened = open_source(source, seed=fit.seed)
    assert isinstance(opened.body, TabularBody)
    work = _Work(body=opened.body, x_NK=x_NK, preprocessing=source.preprocessing, share=corrupted, digest=source.digest)
    found = _reconstruct(work, opened.feature_size, replace(fit, steps=pretraining_steps), run)
    network = Network(opened.body, seeded_head(opened.feature_size, len(task.classes), head, fit.seed))
    fit = replace(fit, rate=fit.rate or _RATE)
    bench = workbench(task, source.preprocessing, fit)
    moves = layerwise(network, decay=1.0, batch_norm="adapt")
    identity = {"source": source.digest, "method": "pretrained", "pretraining": found}
    result = tune(network, bench, moves=moves, fit=fit, run=run, identity=identity)
    return Outcome(
        network=network,
        builder=source.builder,
        preprocessing=source.preprocessing,
        head=head,
        temperature=result.temperature,
        target_scale=target_scale(task),
        curves=result.trained.history,
        facts={**result.facts, "pretraining": found},
        interrupted=result.trained.stopped_by == "interrupt",
        licence=source.licence,
    )


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What is learnt without labels, and from what."""

    body: TabularBody
    x_NK: np.ndarray
    preprocessing: Any
    share: float
    digest: str


def _rows(source: Source, task: Task, unlabelled: str) -> tuple[Source, np.ndarray]:
    """All rows as numbers, and the source with the categories of those without labels."""
    more: Any = []
    if unlabelled:
        more, columns = unlabelled_rows(unlabelled, task)
        source = widened(source, columns)
    assert isinstance(source.preprocessing, TablePreprocessing)
    parts = [tensor_of(items, source.preprocessing).numpy() for items in (task.splits["train"].items, more) if items]
    return source, np.concatenate(parts)


def _reconstruct(work: _Work, features: int, fit: Fit, run: Run) -> dict[str, Any]:
    """Train the body in place; how well cells are foretold before and after, by rows that were held out."""
    order_N = np.random.default_rng(key(fit.seed, "pretraining")).permutation(len(work.x_NK))
    if len(order_N) < _FEWEST:
        raise UsageError(f"`pretrained` needs at least {_FEWEST} rows to learn from, but has {len(order_N)}.")
    held = max(2, int(_HELD * len(order_N)))
    columns = [slot.column for slot in slots_of(work.preprocessing)]
    train, valid = (
        Corrupted(work.x_NK[part], columns, work.share, fit.seed) for part in (order_N[held:], order_N[:held])
    )
    with keyed_weights(fit.seed):
        network = Reconstructing(work.body, features)
    judge = _Judge(x_NK=torch.from_numpy(valid.view(-1)), true_NK=torch.from_numpy(valid.x_NK))
    steps = fit.steps or min(10_000, max(500, _PASSES * len(train) // _BATCH))
    wanted = replace(fit, steps=steps, rate=_RATE, batch_size=_BATCH, target=0.0, validate_every=0, accumulate=1)
    job = Job(
        network=network,
        batches=Batches(
            inputs=train,
            targets=torch.from_numpy(train.x_NK),
            weights_N=np.ones(len(train), np.float32),
            batch_size=min(_BATCH, len(train)),
            seed=fit.seed,
        ),
        objective=_objective,
        moves=Moves(groups=(Group(names=tuple(name for name, _ in network.named_parameters()), rate_scale=1.0),)),
        validate=judge,
        identity={"rows": of_bytes(work.x_NK.tobytes()), "source": work.digest, "share": work.share},
    )
    run = run.part("pretraining", _SHARE_OF_TIME * run.remaining() if run.deadline is not None else None)
    before = judge(network.eval())["loss"]
    trained = job.train(planned(job, wanted, run).fit, run)
    if trained.stopped_by == "interrupt":
        raise KeyboardInterrupt
    work.body.cpu().requires_grad_(True)
    return {"rows": len(work.x_NK), "steps": trained.steps, "loss_before": before, "loss": trained.best["loss"]}


def _objective(network: nn.Module, batch: Batch) -> Tensor:
    assert isinstance(network, Reconstructing)
    return network.loss(batch.x, batch.y)


@dataclass(frozen=True, kw_only=True)
class _Judge:
    """How much of the rows that were held out is not foretold."""

    x_NK: Tensor
    true_NK: Tensor

    def __call__(self, network: nn.Module) -> Metrics:
        assert isinstance(network, Reconstructing)
        device = next(network.parameters()).device
        with torch.inference_mode():
            pairs = zip(self.x_NK.split(1024), self.true_NK.split(1024), strict=True)
            sums = [network.loss(x.to(device), true.to(device)).item() * len(x) for x, true in pairs]
        loss = sum(sums) / len(self.x_NK)
        return {"score": -loss, "loss": loss}
