"""Examples as a network is given them: some to look at, some to judge by, and made up ones where there are none."""

from collections import Counter

import numpy as np
import torch
from torch import Tensor

from transfuse.core.nouns import Examples, Model, Task
from transfuse.core.randomness import key
from transfuse.sources import inputs
from transfuse.tasks.joining import drawn, taken

_BATCH, _BATCHES = 64, 16
_JUDGED = 1024
"""Most examples by which is judged."""


def made_up(model: Model, seed: int) -> Tensor:
    """Something of the right shape: noise, or for token ids what stands for an empty text."""
    blank = inputs.blank(model.preprocessing, 4)
    if not blank.is_floating_point():
        return blank
    return torch.randn(blank.shape, generator=torch.Generator().manual_seed(key(seed, "made-up examples")))


def training_batches(model: Model, task: Task, seed: int) -> list[Tensor]:
    """Training examples, all batches of one shape; what the network is given."""
    items = drawn(task.splits["train"], seed, "examples to align on", _BATCH * _BATCHES).items
    batches = list(inputs.batches(items, model.preprocessing, min(_BATCH, len(items))))
    shape = Counter(batch.shape for batch in batches).most_common(1)[0][0]
    return [batch for batch in batches if batch.shape == shape]


def judged_batches(model: Model, task: Task) -> list[tuple[Tensor, Tensor]]:
    """Validation examples with targets; those on which barriers are measured."""
    valid = task.splits["valid"]
    return labelled_batches(model, taken(valid, np.arange(len(valid))[:_JUDGED]))


def labelled_batches(model: Model, examples: Examples) -> list[tuple[Tensor, Tensor]]:
    """Examples as the network is given them, with targets as a loss wants them."""
    targets = torch.from_numpy(np.asarray(examples.targets))
    targets = _standardised(targets, model) if model.kind == "regression" else targets
    rows = (targets[torch.from_numpy(own)] for own in inputs.blocks(examples.items, model.preprocessing, _BATCH))
    return list(zip(inputs.batches(examples.items, model.preprocessing, _BATCH), rows, strict=True))


def _standardised(values: Tensor, model: Model) -> Tensor:
    mean, deviation = (torch.tensor(own, dtype=torch.float64) for own in model.target_scale or ((0.0,), (1.0,)))
    return ((values.double() - mean) / deviation).float()
