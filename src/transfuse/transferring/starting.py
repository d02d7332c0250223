"""Where a method starts: the opened source, and a head that already solves the task on frozen features.

Letters: N examples, C classes or target columns, D features.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from transfuse.core.nouns import Source, Task
from transfuse.core.randomness import key
from transfuse.core.runs import Run
from transfuse.probing.heads import Head, fit_head
from transfuse.sources.extraction import features
from transfuse.sources.network import Network, new_head
from transfuse.sources.opening import Opened, open_source
from transfuse.training.losses import example_weights
from transfuse.training.options import Fit
from transfuse.transferring.outcome import HeadShape
from transfuse.transferring.targets import target_scale


@dataclass(frozen=True, kw_only=True)
class Start:
    """An opened source under a new head."""

    opened: Opened
    network: Network
    probe: Head | None
    """The closed-form head it starts from; None when the head's shape has none."""


def start(source: Source, task: Task, *, head: HeadShape, fit: Fit, run: Run, pretrained: bool = True) -> Start:
    """The source's body under a head of the wanted shape; a linear head starts as the probe's solution.

    The probe's temperature is folded into its weights, so that training starts from calibrated outputs
    (head first, then all layers: Kumar et al., arXiv 2202.10054).
    """
    opened = open_source(source, pretrained=pretrained, seed=fit.seed)
    new = seeded_head(opened.feature_size, len(task.classes), head, fit.seed)
    probe = None
    if pretrained and head.kind == "linear":
        probe = probed(opened, task, fit=fit, run=run)
        set_linear(new, probe, task)
    return Start(opened=opened, network=Network(opened.body, new), probe=probe)


def seeded_head(feature_size: int, outputs: int, shape: HeadShape, seed: int) -> nn.Module:
    """A new head whose random weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(seed, "head"))
        return new_head(
            feature_size,
            outputs,
            kind=shape.kind,
            hidden=shape.hidden,
            activation=shape.activation,
            dropout=shape.dropout,
        )


def probed(source: Source | Opened, task: Task, *, fit: Fit, run: Run, method: str = "auto") -> Head:
    """The cross-validated head on the source's cached features of the training split."""
    train = task.splits["train"]
    x_ND = features(source, task, "train", run=run).x_ND
    return fit_head(
        x_ND,
        train.targets,
        task.kind,
        method=method,
        classes=len(task.classes),
        weights_N=example_weights(task, fit),
        seed=fit.seed,
        groups=train.groups,
    )


def set_linear(head: nn.Module, probe: Head, task: Task) -> None:
    """Write the probe's weights, over its temperature, into a linear head; regression in standardised units."""
    weight_CD, bias_C = probe.weight_CD.astype(np.float64), probe.bias_C.astype(np.float64)
    scale = target_scale(task)
    if scale is not None:
        mean_C, deviation_C = np.asarray(scale[0]), np.asarray(scale[1])
        weight_CD, bias_C = weight_CD / deviation_C[:, None], (bias_C - mean_C) / deviation_C
    else:
        weight_CD, bias_C = weight_CD / probe.temperature, bias_C / probe.temperature
    linear = next(module for module in head.modules() if isinstance(module, nn.Linear))
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(weight_CD))
        linear.bias.copy_(torch.from_numpy(bias_C))
