"""add, gated, attention: joins of several frozen sources (`sources/joins.py`) trained on their cached features.

The sources never run in training. Modality dropout keeps the join from leaning on the source that is easiest where it
learns. Answers out of fold come from trainings of the same length without the fold, so that a join is judged as a probe
is. Relations: `feature_fusions` has the closed forms. Letters: N examples, D features of all sources, C classes.
"""

from dataclasses import replace
from functools import partial
from typing import Any, cast

import numpy as np
import torch

from transfuse.core.nouns import Features, Task
from transfuse.core.randomness import key
from transfuse.core.runs import Run
from transfuse.predicting.predict import activated
from transfuse.probing.calibrating import temperature
from transfuse.sources.extraction import features
from transfuse.sources.joins import Join, joined
from transfuse.sources.network import Network
from transfuse.tasks.joining import taken
from transfuse.training.batches import Activations
from transfuse.training.loop import Group, Moves
from transfuse.training.options import Fit, default_steps
from transfuse.transferring.feature_fusions import Blocks, outcome_of
from transfuse.tuning.outcome import HeadShape, Outcome
from transfuse.tuning.starting import seeded_head
from transfuse.tuning.targets import target_scale
from transfuse.tuning.tune import Tuned, tune, workbench

SIZE = 64
"""Width of the space into which all sources are projected."""
DROP = 0.3
"""0..1: how often a source is dropped in training."""
_RATE = 1e-2
_DECAY = 0.1


def trained(
    blocks: Blocks, kind: str, *, fit: Fit, run: Run, size: int = SIZE, drop: float = DROP, judge: bool = True
) -> Outcome:
    """A join of the blocks under a linear head. `judge`: train once more for each fold, for answers out of fold."""
    task = blocks.task
    fit = replace(fit, augmentation="none", rate=fit.rate or _RATE, weight_decay=max(fit.weight_decay, _DECAY))
    fit = replace(fit, steps=fit.steps or default_steps(len(task.splits["train"])))
    valid_ND = cast("Features", features(blocks.together, task, "valid", run=run)).x_ND
    network, tuned = _trained(blocks, kind, (blocks.x_ND, valid_ND), task, fit, run, (size, drop))
    outputs_NC = _held_out(blocks, kind, tuned.trained.steps, fit, run, (size, drop)) if judge else None
    join = cast("Join", network.body)
    body = joined(blocks.together, join)
    return outcome_of(
        blocks,
        Network(body.body, network.head),
        kind,
        outputs_NC,
        {**tuned.facts, "size": size, "drop": drop},
        builder=body.source.builder,
        temperature=tuned.temperature,
        curves=tuned.trained.history,
        interrupted=tuned.trained.stopped_by == "interrupt",
    )


def _trained(
    blocks: Blocks,
    kind: str,
    rows: tuple[np.ndarray, np.ndarray],
    task: Task,
    fit: Fit,
    run: Run,
    shape: tuple[int, float],
) -> tuple[Network, Tuned]:
    """Join and head on the cached rows of the training and the validation split."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(fit.seed, "join", kind))
        join = Join(kind, list(blocks.widths.values()), *shape)
    join.standardise(np.asarray(rows[0], np.float64))
    network = Network(join, seeded_head(join.size, len(task.classes), HeadShape(), fit.seed))
    inputs = (Activations(rows[0]), Activations(rows[1]))
    bench = workbench(task, blocks.together.source.preprocessing, fit, inputs=inputs)
    moves = Moves(groups=(Group(names=tuple(name for name, _ in network.named_parameters())),))
    identity: dict[str, Any] = {"method": kind, "sources": blocks.together.source.digest, "shape": list(shape)}
    return network, tune(network, bench, moves=moves, fit=fit, run=run, identity=identity)


def _held_out(blocks: Blocks, kind: str, steps: int, fit: Fit, run: Run, shape: tuple[int, float]) -> np.ndarray:
    """Calibrated answers (N, C), each by a training that did not see its fold; none is chosen by what it answers."""
    task, fold_N = blocks.task, blocks.found.fold_N
    train = task.splits["train"]
    logits_NC = np.zeros((len(train), len(task.classes)), np.float32)
    fit = replace(fit, steps=steps, validate_every=steps, patience=0)
    for fold in range(int(fold_N.max()) + 1):
        out, rest = np.flatnonzero(fold_N == fold), np.flatnonzero(fold_N != fold)
        part = replace(task, splits={"train": taken(train, rest), "valid": taken(train, out)})
        rows = (blocks.x_ND[rest], blocks.x_ND[out])
        network, _ = _trained(blocks, kind, rows, part, fit, replace(run, checkpoints=None), shape)
        with torch.inference_mode():
            found = network(torch.from_numpy(np.asarray(rows[1], np.float32)))
        logits_NC[out] = found.numpy()
    return _calibrated(logits_NC, task)


def _calibrated(logits_NC: np.ndarray, task: Task) -> np.ndarray:
    warmth = temperature(logits_NC, task.splits["train"].targets, task.kind)
    return activated(logits_NC, task.kind, temperature=warmth, target_scale=target_scale(task))


add = partial(trained, kind="add")
"""Projections of all sources, summed."""
gated = partial(trained, kind="gated")
"""Projections weighed by learnt gates."""
attention = partial(trained, kind="attention")
"""Projections weighed by how well they match a learnt query."""
