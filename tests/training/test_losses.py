"""Losses against formulas written out in NumPy, weights against counts by hand."""

import numpy as np
import pytest
import torch

from transfuse.core.errors import UnknownName, UsageError
from transfuse.core.nouns import Examples, Task
from transfuse.training.losses import binary, chosen_loss, cross_entropy, example_weights, focal, huber, mse
from transfuse.training.options import Fit

generator = np.random.default_rng(3)
Z_BC = generator.normal(size=(5, 4))
Y_B = np.array([0, 3, 1, 1, 2])
P_BC = np.exp(Z_BC) / np.exp(Z_BC).sum(1, keepdims=True)


def tensor(array):
    return torch.from_numpy(np.asarray(array))


def test_cross_entropy_with_smoothing():
    target_BC = np.eye(4)[Y_B] * 0.9 + 0.1 / 4
    np.testing.assert_allclose(
        cross_entropy(tensor(Z_BC), tensor(Y_B), smoothing=0.1), -(target_BC * np.log(P_BC)).sum(1), rtol=1e-5
    )


def test_focal():
    p_B = P_BC[np.arange(5), Y_B]
    np.testing.assert_allclose(focal(tensor(Z_BC), tensor(Y_B)), -((1 - p_B) ** 2) * np.log(p_B), rtol=1e-5)


def test_binary_reads_class_indices_as_one_hot():
    s_BC = 1 / (1 + np.exp(-Z_BC))
    y_BC = np.eye(4)[Y_B]
    by_hand = -(y_BC * np.log(s_BC) + (1 - y_BC) * np.log(1 - s_BC)).mean(1)
    np.testing.assert_allclose(binary(tensor(Z_BC), tensor(Y_B)), by_hand, rtol=1e-5)
    np.testing.assert_allclose(binary(tensor(Z_BC), tensor(y_BC.astype(np.float32))), by_hand, rtol=1e-5)


def test_squared_and_huber():
    y_BC = (Z_BC + np.array([0.5, -2.0, 0.0, 3.0])).astype(np.float32)
    np.testing.assert_allclose(mse(tensor(Z_BC), tensor(y_BC)), [(0.25 + 4 + 0 + 9) / 4] * 5, rtol=1e-5)
    np.testing.assert_allclose(huber(tensor(Z_BC), tensor(y_BC)), [(0.125 + 1.5 + 0 + 2.5) / 4] * 5, rtol=1e-5)


@pytest.mark.parametrize("loss", [cross_entropy, focal])
def test_finite_on_extreme_logits(loss):
    z_BC = torch.tensor([[1e4, -1e4], [-1e4, 1e4]], requires_grad=True)
    value = loss(z_BC, torch.tensor([1, 1])).sum()
    value.backward()
    assert torch.isfinite(value) and torch.isfinite(z_BC.grad).all()


def task(targets, kind="single-label", classes=("a", "b"), weights=None) -> Task:
    count = len(targets)
    names = tuple(str(i) for i in range(count))
    train = Examples(items=[None] * count, targets=np.asarray(targets), digests=names, names=names, weights=weights)
    return Task(name="t", kind=kind, classes=classes, splits={"train": train}, seed=0, digest="d")


def test_balanced_weights_give_each_class_the_same_total():
    weights_N = example_weights(task([0, 0, 0, 1]), Fit(class_weights="balanced"))
    np.testing.assert_allclose(weights_N, [2 / 3, 2 / 3, 2 / 3, 2.0], rtol=1e-6)


def test_given_weights_multiply_the_users():
    weights_N = example_weights(task([0, 1], weights=np.array([1.0, 3.0], np.float32)), Fit(class_weights={"b": 2.0}))
    np.testing.assert_allclose(weights_N, [2 / 7, 12 / 7], rtol=1e-6)


def test_bad_weights_and_losses_are_refused_in_words():
    with pytest.raises(UnknownName, match="No class is called 'c'"):
        example_weights(task([0, 1]), Fit(class_weights={"c": 1.0}))
    with pytest.raises(UsageError, match="not all zero"):
        example_weights(task([0, 1]), Fit(class_weights={"a": 0.0, "b": 0.0}))
    with pytest.raises(UsageError, match="must be one of mse, huber"):
        chosen_loss("regression", Fit(loss="focal"))
    with pytest.raises(UnknownName, match="Did you mean 'focal'"):
        chosen_loss("single-label", Fit(loss="foca"))
    with pytest.raises(UsageError, match="label_smoothing"):
        chosen_loss("single-label", Fit(loss="focal", label_smoothing=0.1))
