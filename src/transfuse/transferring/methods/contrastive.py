"""contrastive: texts of one class are drawn together and others apart, then a closed-form head; for few examples.

Tunstall et al., "Efficient Few-Shot Learning Without Prompts" (SetFit), arXiv 2209.11055: the cosine between two texts'
features is pulled to 1 for one class and to 0 for two, by squared error. Changed: in a pass every example has one
partner of its class and one of another, drawn anew each time, so the pairs of a pass are 2 N instead of N²; and the
result is kept only when the validation split says that it is better than `probe`, at whatever depths that takes.

Relations: `finetune` learns from the classes themselves and does better with many examples.
Letters: B examples of a batch, T tokens, N examples, D features.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from transfuse.core.digests import of_many
from transfuse.core.errors import UsageError
from transfuse.core.nouns import Examples, Source, Task
from transfuse.core.randomness import key
from transfuse.core.runs import Run
from transfuse.measuring.metrics import PRIMARY
from transfuse.predicting.predict import activated
from transfuse.sources.extraction import features
from transfuse.sources.inputs import joined
from transfuse.sources.network import Network
from transfuse.sources.opening import Opened
from transfuse.training.batches import Batch, Inputs, inputs_of
from transfuse.training.options import Fit, default_steps
from transfuse.transferring.methods.probe import probe
from transfuse.tuning.moving import layerwise
from transfuse.tuning.outcome import HeadShape, Outcome
from transfuse.tuning.planning import Job, planned
from transfuse.tuning.starting import Depths, fitted, seeded_head, set_linear, start
from transfuse.tuning.targets import scored
from transfuse.tuning.tune import Workbench, calibrated, workbench

_CHECKED = 512
"""Validation examples whose pairs are judged, at most."""


def contrastive(
    source: Source,
    task: Task,
    *,
    run: Run = Run(),
    fit: Fit = Fit(),
    depths: Depths = "auto",
    layer_decay: float = 0.8,
) -> Outcome:
    """All layers move by pairs; the head is fitted to the features that result.

    `depths` is which features are drawn together and seen by the head (see `probe`). `layer_decay` (0..1) is the factor
    on the rate from one layer to the one before it. Single-label tasks only.
    """
    if task.kind != "single-label":
        raise UsageError(f"`contrastive` needs one class an example, but the task is {task.kind}. Use 'finetune'.")
    begin = start(source, task, head=HeadShape(), fit=fit, run=run, depths=depths)
    still = probe(source, task, run=run, fit=fit)
    train, valid = task.splits["train"], task.splits["valid"]
    inputs = inputs_of(train, source.preprocessing), inputs_of(valid, source.preprocessing)
    bench = workbench(task, source.preprocessing, fit, inputs=inputs)
    before = _validated(still.network, bench)
    triples = replace(bench, train_inputs=Triples(inputs[0], train, fit.seed))
    judged = _Judged(Triples(inputs[1], valid, fit.seed))
    pairing = Pairing(begin.opened.body)
    job = Job(
        network=pairing,
        batches=triples.batches(fit),
        objective=_loss,
        moves=layerwise(pairing, decay=layer_decay, batch_norm="frozen"),
        validate=judged,
        identity={"task": task.digest, "source": source.digest, "method": "contrastive"},
    )
    plan = planned(job, replace(fit, steps=fit.steps or default_steps(len(train))), run)
    trained = job.train(plan.fit, run)
    network: nn.Module = _with_head(begin.opened, task, fit, run)
    after = _validated(network, bench)
    kept = (after["score"], -after["loss"]) > (before["score"], -before["loss"])
    if not kept:
        network = still.network
    metric = PRIMARY[task.kind]
    return Outcome(
        network=network,
        builder=begin.opened.source.builder if kept else still.builder,
        preprocessing=source.preprocessing,
        temperature=calibrated(network, bench),
        facts={
            "loaded": begin.loaded,
            "steps": trained.steps,
            "steps_wanted": plan.steps_wanted,
            "rate": plan.fit.rate,
            "rate_search": list(plan.trials),
            "stopped_by": trained.stopped_by,
            "augmentation": bench.augmentation,
            "pairs_a_pass": 2 * len(train),
            "validation": {"probe": before[metric], "contrastive": after[metric], "kept": kept},
        },
        interrupted=trained.stopped_by == "interrupt",
        licence=source.licence,
    )


class Triples:
    """Every example with a partner of its own class and one of another, drawn by (seed, pass, example).

    An example that is alone in its class is its own partner.
    """

    def __init__(self, inputs: Inputs, examples: Examples, seed: int) -> None:
        self.inputs, self.seed = inputs, seed
        self.targets_N: np.ndarray = examples.targets
        self.digests = examples.digests
        self.places = {int(label): np.flatnonzero(self.targets_N == label) for label in np.unique(self.targets_N)}
        self.others = {label: np.flatnonzero(self.targets_N != label) for label in self.places}

    def __len__(self) -> int:
        return len(self.inputs)

    def take(self, index_B: np.ndarray, view: int | None) -> Tensor:
        """(B, 3, ...): the example, its partner, its opponent."""
        pairs = [self.partners(int(place), view or 0) for place in index_B]
        parts = [self.inputs.take(np.array(column), None) for column in zip(*pairs, strict=True)]
        together = joined([self.inputs.take(index_B, None), *parts])
        return together.view(3, len(index_B), *together.shape[1:]).transpose(0, 1)

    def partners(self, place: int, view: int) -> tuple[int, int]:
        """Places of the partner and of the opponent."""
        label = int(self.targets_N[place])
        random = np.random.default_rng(key(self.seed, "pair", self.digests[place], view))
        same = self.places[label]
        others = self.others[label] if len(self.others[label]) else same
        partner = int(random.choice(same[same != place])) if len(same) > 1 else place
        return partner, int(random.choice(others))


def pair_loss(z_3BD: Tensor) -> Tensor:
    """(B,): squared errors of the cosines with the partner (to 1) and with the opponent (to 0)."""
    anchor, partner, opponent = functional.normalize(z_3BD.float(), dim=-1)
    return ((anchor * partner).sum(-1) - 1) ** 2 + (anchor * opponent).sum(-1) ** 2


class Pairing(nn.Module):
    """Features of triples: (B, 3, ...) to (3, B, D)."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, x_B3: Tensor) -> Tensor:
        return self.body(x_B3.transpose(0, 1).flatten(0, 1)).view(3, len(x_B3), -1)


def _loss(network: nn.Module, batch: Batch) -> Tensor:
    return (pair_loss(network(batch.x)) * batch.weights_B).mean()


class _Judged:
    """The pairs of the validation split as metrics."""

    def __init__(self, triples: Triples) -> None:
        self.triples = triples

    def __call__(self, network: nn.Module) -> Mapping[str, float]:
        device = next(network.parameters()).device
        places = np.arange(min(len(self.triples), _CHECKED))
        with torch.inference_mode():
            losses = [
                pair_loss(network(self.triples.take(places[start : start + 32], None).to(device))).cpu()
                for start in range(0, len(places), 32)
            ]
        loss = float(torch.cat(losses).mean())
        return {"score": -loss, "loss": loss}


def _with_head(opened: Opened, task: Task, fit: Fit, run: Run) -> Network:
    """The moved body under the head that solves the task on its features."""
    moved = replace(opened.source, digest=of_many([opened.source.digest, "moved"]))
    found: Any = features(replace(opened, source=moved), task, "train", run=run, cache=False)
    head = fitted(found.x_ND, task, fit, "ridge")
    linear = seeded_head(opened.feature_size, len(task.classes), HeadShape(), fit.seed)
    set_linear(linear, head, task)
    return Network(opened.body, linear).eval()


def _validated(network: nn.Module, bench: Workbench) -> dict[str, float]:
    logits_NC = bench.validation.logits(network)
    scale = calibrated(network, bench)
    outputs_NC = activated(logits_NC, bench.task.kind, temperature=scale)
    return scored(bench.task.kind, bench.validation.targets, outputs_NC)
