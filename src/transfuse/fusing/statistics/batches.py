"""The running statistics of batch normalisation, which no mean of weights gives: estimated anew on examples.

Averaged weights shift and shrink activations, to which averaged statistics do not belong: Izmailov et al., arXiv
1803.05407, and Jordan et al., "REPAIR", arXiv 2211.08403, section 3.2. The mean over batches is taken, all alike.
"""

from collections.abc import Iterable
from itertools import islice

import numpy as np

from transfuse.core.nouns import Model, Task
from transfuse.fusing.checkpoints import Checkpoint
from transfuse.sources import inputs
from transfuse.tasks.joining import drawn
from transfuse.training.batch_statistics import batch_norms, estimated_anew
from transfuse.weights.headers import Entry
from transfuse.weights.pieces import floats, stored

_STATISTICS = ("running_mean", "running_var")
_ROUNDING = 1e-6
"""Of the largest number of a tensor: what averaging or interpolating equal numbers in float32 does, and no training."""


def same_statistics(checkpoints: Iterable[Checkpoint]) -> bool:
    """Whether all parents have the same running statistics, but for rounding: they were trained with these frozen.

    The result belongs to them then, as its parents do; others would be new to its weights.
    """
    first, *others = (_statistics(checkpoint) for checkpoint in checkpoints)
    return all(own.keys() == first.keys() and all(_close(own[name], first[name]) for name in first) for own in others)


def _statistics(checkpoint: Checkpoint) -> dict[str, Entry]:
    return {name: entry for name, entry in checkpoint.entries.items() if name.endswith(_STATISTICS)}


def _close(a: Entry, b: Entry) -> bool:
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    x, y = (floats(stored(entry, 0, entry.count), entry.dtype) for entry in (a, b))
    return bool(np.abs(x - y).max(initial=0.0) <= _ROUNDING * np.abs(y).max(initial=0.0))


def with_batch_statistics(model: Model, task: Task, batches: int = 100) -> int:
    """Estimate the statistics anew on batches of training examples, in place; how many examples were seen."""
    if not batch_norms(model.network):
        return 0
    items = drawn(task.splits["train"], task.seed, "batch statistics").items  # mixed: else a batch holds one class
    return estimated_anew(model.network, islice(inputs.batches(items, model.preprocessing, 64), batches))
