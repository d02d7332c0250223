"""Ways of making one network of the features of several frozen sources, of one kind of data or of several.

concat: a linear head on all of them side by side (`fused_probe.headed`). product: a head for each, calibrated, and
their logits added with weights that answers out of fold decide (`probing/opinion_pools.py`); one source cannot drown
another there, however many features it has. add, gated, attention: trained on the cached ones (`trained_joins`). Each
gives a network that is a source again.
Letters: N examples, D features of all sources, C classes or target columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from transfuse.core.nouns import Features, Task
from transfuse.core.runs import Run
from transfuse.core.tables import resolve
from transfuse.measuring.metrics import PRIMARY
from transfuse.predicting.predict import activated
from transfuse.probing.calibrating import temperature
from transfuse.probing.opinion_pools import pool_weights
from transfuse.sources.extraction import features
from transfuse.sources.fused import fused
from transfuse.sources.network import Network
from transfuse.sources.opening import Opened
from transfuse.training.losses import example_weights
from transfuse.training.options import Fit
from transfuse.transferring.fused_probe import Joined, explained, headed
from transfuse.transferring.mixed_probe import columns_together
from transfuse.tuning.outcome import HeadShape, Outcome
from transfuse.tuning.starting import Probed, seeded_head, write_linear
from transfuse.tuning.targets import scored, target_scale

FUSIONS: Mapping[str, str] = {
    "concat": "transfuse.transferring.feature_fusions:concat",
    "product": "transfuse.transferring.feature_fusions:product",
    "add": "transfuse.transferring.trained_joins:add",
    "gated": "transfuse.transferring.trained_joins:gated",
    "attention": "transfuse.transferring.trained_joins:attention",
}


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """Several sources, and what they see of a task's training split."""

    task: Task
    found: Joined
    """Probes in the order in which their features stand side by side."""
    together: Opened
    """All sources as one."""
    x_ND: np.ndarray

    @property
    def widths(self) -> dict[str, int]:
        """Features of each source."""
        return {name: probe.opened.feature_size for name, probe in self.found.probes.items()}


def blocks_of(found: Joined, task: Task, *, run: Run = Run()) -> Blocks:
    """The probes of a table's columns, or of several sources that see the same pictures, side by side.

    Of pictures the features are extracted anew, because the network reduces them for its parts by itself.
    """
    if task.modality == "table":
        together, x_ND, found = columns_together(found)
    else:
        together = fused([probe.opened for probe in found.probes.values()])
        x_ND = cast("Features", features(together, task, "train", run=run)).x_ND
    return Blocks(task=task, found=found, together=together, x_ND=x_ND)


def fuse_blocks(blocks: Blocks, kind: str, *, fit: Fit = Fit(), run: Run = Run()) -> Outcome:
    """One network of all blocks. Raises `UnknownName` for a fusion that there is not."""
    outcome: Outcome = resolve(FUSIONS, kind, "fusion of features")(blocks, fit=fit, run=run)
    return outcome


def concat(blocks: Blocks, *, fit: Fit, run: Run) -> Outcome:
    """One linear head on all features side by side."""
    return headed(blocks.together, blocks.x_ND, blocks.found, blocks.task, fit)


def product(blocks: Blocks, *, fit: Fit, run: Run) -> Outcome:
    """The sum of the logits of each source's own head, weighted: a product of experts, which is one linear head."""
    task, probes = blocks.task, blocks.found.probes
    train = task.splits["train"]
    centre_C = train.targets.mean(0) if task.kind == "regression" else 0.0
    held = [probe.head.out_of_fold_NC - centre_C for probe in probes.values()]
    weight_k = pool_weights(held, train.targets, task.kind, example_weights(task, fit))
    pooled_NC = np.tensordot(weight_k, np.stack(held), 1) + centre_C
    warmth = temperature(pooled_NC, train.targets, task.kind)
    outputs_NC = activated(pooled_NC, task.kind, temperature=warmth)
    weight_CD = np.concatenate([w * p.head.weight_CD for w, p in zip(weight_k, probes.values(), strict=True)], axis=1)
    bias_C = sum(w * (_bias(p) - centre_C) for w, p in zip(weight_k, probes.values(), strict=True)) + centre_C
    head = seeded_head(blocks.together.feature_size, len(task.classes), HeadShape(), fit.seed)
    write_linear(head, (weight_CD, np.asarray(bias_C)), warmth, target_scale(task))
    said = {name: round(float(w * _sharpness(p)), 4) for w, (name, p) in zip(weight_k, probes.items(), strict=True)}
    return outcome_of(blocks, Network(blocks.together.body, head), "product", outputs_NC, {"weights": said})


def outcome_of(
    blocks: Blocks, network: Network, kind: str, outputs_NC: np.ndarray | None, facts: Mapping[str, Any], **more: Any
) -> Outcome:
    """A fusion's outcome, with its score out of fold among the facts."""
    task, judged = blocks.task, {}
    if outputs_NC is not None:
        found = scored(task.kind, task.splits["train"].targets, outputs_NC)
        judged = {"out_of_fold": {name: found[name] for name in (PRIMARY[task.kind], "loss")}}
    return Outcome(
        network=network.eval(),
        builder=more.pop("builder", blocks.together.source.builder),
        preprocessing=blocks.together.source.preprocessing,
        target_scale=target_scale(task),
        facts={"sources": list(blocks.widths), "kind": kind, **judged, **facts, **explained(blocks.found)},
        licence=blocks.together.source.licence,
        out_of_fold_NC=outputs_NC,
        **more,
    )


def _bias(probe: Probed) -> np.ndarray:
    return np.asarray(probe.head.bias_C, np.float64)


def _sharpness(probe: Probed) -> float:
    """What a weight of the raw logits is worth in those of the probe alone, calibrated: 1 is as sure as alone."""
    return probe.head.temperature
