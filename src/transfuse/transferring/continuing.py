"""A trained network trained on for a short while, when more examples have come.

Changed against training anew: the schedule starts lower and is shorter, since most is known already. Batch norms keep
the statistics that they have. Relations: `finetune` starts from a source and a probe's head instead.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import nn

from transfuse.core.nouns import Source, Task
from transfuse.core.runs import Run
from transfuse.training.options import Fit
from transfuse.tuning.moving import layerwise
from transfuse.tuning.tune import tune, workbench

_SHARE_OF_STEPS = 0.25
_SHARE_OF_RATE = 0.5
"""Of the first training's. See LOG.md for what other shares gave."""


def continued(
    network: nn.Module, source: Source, task: Task, *, fit: Fit, layer_decay: float, run: Run = Run()
) -> Mapping[str, Any]:
    """Train `network` on, in place; gives what was done. `fit` is the first training's, with its steps and rate."""
    steps = max(1, round(_SHARE_OF_STEPS * fit.steps))
    shorter = replace(fit, steps=steps, rate=_SHARE_OF_RATE * fit.rate, validate_every=steps, patience=0, target=0.0)
    bench = workbench(task, source.preprocessing, shorter)
    moves = layerwise(network, decay=layer_decay, batch_norm="frozen")
    identity = {"source": source.digest, "method": "continued"}
    return tune(network, bench, moves=moves, fit=shorter, run=run, identity=identity).facts
