"""Calibration: the temperature against scipy's minimiser, and where there is none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from transfuse.core.errors import UsageError
from transfuse.probing.calibrating import log_losses, temperature


def noisy_logits(seed, n=60, c=4, scale=3.0):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, c)) * scale
    p = np.exp(log_softmax(z / scale * rng.uniform(0.5, 2.0), axis=1))
    return z, np.array([rng.choice(c, p=row) for row in p])


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10**6), scale=st.floats(1e-3, 1e3))
def test_it_is_the_minimiser(seed, scale):
    z, y = noisy_logits(seed, scale=scale)

    def loss(log_t):
        return -log_softmax(z / np.exp(log_t), axis=1)[np.arange(len(y)), y].mean()

    found = temperature(z, y, "single-label")
    spread = np.log(scale)
    other = minimize_scalar(loss, bounds=(spread - 4, spread + 6), method="bounded", options={"xatol": 1e-9})
    assert loss(np.log(found)) <= other.fun + 1e-9


def test_multi_label_and_weights_agree_with_repeated_examples():
    rng = np.random.default_rng(1)
    z = rng.normal(size=(80, 3)) * 2
    y = (rng.random((80, 3)) < 1 / (1 + np.exp(-0.7 * z))).astype(float)
    times = rng.integers(1, 4, 80)
    weighted = temperature(z, y, "multi-label", times.astype(float))
    repeated = temperature(np.repeat(z, times, 0), np.repeat(y, times, 0), "multi-label")
    assert weighted == pytest.approx(repeated, rel=1e-9)
    element = temperature(z, y, "multi-label", np.repeat(times[:, None], 3, 1).astype(float))
    assert element == pytest.approx(weighted, rel=1e-12)


def test_two_classes_equal_one_label():
    rng = np.random.default_rng(2)
    z = rng.normal(size=100) * 4
    y = (rng.random(100) < 1 / (1 + np.exp(-z / 2))).astype(int)
    pair = temperature(np.stack([np.zeros(100), z], 1), y, "single-label")
    assert pair == pytest.approx(temperature(z[:, None], y[:, None], "multi-label"), rel=1e-9)


def test_all_right_gives_the_rule_of_succession():
    z = np.eye(3)[[0, 1, 2, 0, 1, 2, 0, 1]] * 5.0
    y = np.array([0, 1, 2, 0, 1, 2, 0, 1])
    t = temperature(z, y, "single-label")
    assert np.exp(-log_losses(z / t, y, "single-label").mean()) == pytest.approx(9 / 10, rel=1e-9)


def test_misleading_logits_become_nearly_uniform():
    z = np.eye(3)[[0, 1, 2] * 5] * 5.0
    t = temperature(z, np.array([1, 2, 0] * 5), "single-label")
    assert log_losses(z / t, np.array([1, 2, 0] * 5), "single-label").mean() == pytest.approx(np.log(3), abs=0.01)


def test_nothing_to_calibrate():
    assert temperature(np.zeros((5, 2)), np.array([0, 1, 0, 1, 0]), "single-label") == 1.0
    assert temperature(np.ones((5, 2)), np.ones((5, 2)), "regression") == 1.0
    assert temperature(np.eye(2), np.array([0, 1]), "single-label", np.zeros(2)) == 1.0


def test_refuses_what_is_not_finite():
    with pytest.raises(UsageError, match="finite"):
        temperature(np.array([[np.nan, 1.0], [0.0, 1.0]]), np.array([0, 1]), "single-label")


def test_losses_stay_finite_for_huge_logits():
    z = np.array([[1e4, -1e4], [1e4, -1e4]])
    assert log_losses(z, np.array([0, 1]), "single-label").tolist() == [0.0, 2e4]
    assert log_losses(z, np.array([[1, 0], [0, 1]]), "multi-label").tolist() == [[0.0, 0.0], [1e4, 1e4]]


def test_flat_places_of_the_loss_do_not_overflow():
    """Everything is right by margins of many sizes: far out the derivative is subnormal (warnings are errors here)."""
    for seed in range(60, 80):
        generator = np.random.default_rng(seed)
        y = np.arange(9) % 3
        margins = generator.uniform(0.5, 4, 9)[:, None]
        z_NC = (np.eye(3)[y] * margins + generator.normal(0, 0.05, (9, 3))) * 10 ** generator.uniform(-1, 2)
        t = temperature(z_NC, y, "single-label")
        assert log_losses(z_NC / t, y, "single-label").mean() == pytest.approx(np.log(1 + 1 / 10), rel=1e-6)
