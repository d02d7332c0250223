"""bss: the penalty against another implementation's numbers, its gradient, its effect on features."""

import numpy as np
import pytest
import torch

from transfuse.core.nouns import Source, Task
from transfuse.training.options import Fit
from transfuse.transferring.methods.bss import bss, smallest_singular_values

F_BD = np.random.default_rng(0).normal(size=(8, 12))


@pytest.mark.parametrize(("k", "golden"), [(1, 1.2953115667591828), (3, 4.832560625982261)])
def test_equals_the_transfer_learning_library(k: int, golden: float):
    """Golden values: thuml/Transfer-Learning-Library c4aa59e, `BatchSpectralShrinkage`."""
    assert smallest_singular_values(torch.from_numpy(F_BD), k).item() == pytest.approx(golden, rel=1e-10)


def test_more_pictures_than_features():
    """The same singular values, from the other Gram matrix; against NumPy's decomposition."""
    tall_BD = F_BD.T.copy()
    expected = np.linalg.svd(tall_BD, compute_uv=False)[-2:]
    assert smallest_singular_values(torch.from_numpy(tall_BD), 2).item() == pytest.approx((expected**2).sum())


def test_gradient_is_that_of_finite_differences():
    features_BD = torch.from_numpy(F_BD).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: smallest_singular_values(x, 2), (features_BD,))


def test_a_singular_batch_gives_zero_and_a_finite_gradient():
    features_BD = torch.ones(4, 6, requires_grad=True)
    value = smallest_singular_values(features_BD, 1)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-4) and torch.isfinite(features_BD.grad).all()


def test_a_large_eta_shrinks_the_weakest_directions(small: Source, task: Task):
    fit = Fit(steps=40, rate=3e-3, batch_size=24, average=0.0, augmentation="none")
    x = torch.stack([torch.from_numpy(item) for item in task.splits["train"].items])
    from transfuse.sources.images.preprocessing import normalise

    x_Bchw = normalise(x, small.preprocessing)
    weakest = []
    for eta in (0.0, 10.0):
        outcome = bss(small, task, fit=fit, eta=eta, k=4, interpolate=False)
        with torch.inference_mode():
            weakest.append(smallest_singular_values(outcome.network.body.eval()(x_Bchw), 4).item())
    assert weakest[1] < weakest[0] / 2
