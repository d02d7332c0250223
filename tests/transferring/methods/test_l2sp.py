"""l2sp: the penalty against another implementation's numbers; a strong one holds the source's weights."""

import numpy as np
import pytest
import torch

from transfuse.core.nouns import Source, Task
from transfuse.sources.opening import open_source
from transfuse.training.options import Fit
from transfuse.transferring.methods.l2sp import half_squared_distance, half_squared_norm, l2sp

FIT = Fit(steps=30, rate=1e-3, batch_size=8, average=0.0, weight_decay=0.0)


def layers() -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Weights and biases of a Linear(6, 4): the source's, and a little later."""
    generator = np.random.default_rng(0)
    generator.normal(size=(8, 12))
    w0, b0 = generator.normal(size=(4, 6)), generator.normal(size=4)
    w1, b1 = w0 + 0.1 * generator.normal(size=(4, 6)), b0 + 0.1 * generator.normal(size=4)
    return [torch.from_numpy(w0), torch.from_numpy(b0)], [torch.from_numpy(w1), torch.from_numpy(b1)]


def test_penalties_equal_those_of_the_transfer_learning_library():
    """Golden values: thuml/Transfer-Learning-Library c4aa59e, `SPRegularization` and `L2Regularization`."""
    source, now = layers()
    assert half_squared_distance(now, source).item() == pytest.approx(0.12471497899000497, rel=1e-12)
    assert half_squared_norm(now).item() == pytest.approx(12.098652344903778, rel=1e-12)


def distance_from_source(small: Source, task: Task, alpha: float) -> float:
    outcome = l2sp(small, task, fit=FIT, alpha=alpha, beta=0.0, interpolate=False)
    origin = dict(open_source(small).body.named_parameters())
    moved = dict(outcome.network.body.named_parameters())
    return sum((moved[name] - origin[name]).pow(2).sum().item() for name in origin) ** 0.5


def test_a_huge_alpha_stays_at_the_source(small: Source, task: Task):
    free, held = distance_from_source(small, task, 0.0), distance_from_source(small, task, 1e4)
    assert free > 0.05 and held < free / 3


def test_beta_shrinks_the_head(small: Source, task: Task):
    norms = [
        l2sp(small, task, fit=FIT, alpha=0.0, beta=beta, interpolate=False).network.head.weight.norm().item()
        for beta in (0.0, 10.0)
    ]
    assert norms[1] < norms[0]
