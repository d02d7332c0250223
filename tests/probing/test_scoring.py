"""Log-losses at the best temperature against the temperature found in full precision."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transfuse.probing.calibrating import log_losses, temperature
from transfuse.probing.scoring import calibrated_losses


def golden(z, y, kind, w):
    return log_losses(z / temperature(z, y, kind, w), y, kind)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 999),
    size=st.sampled_from([1e-3, 1.0, 50.0]),
    kind=st.sampled_from(["single-label", "multi-label"]),
    start=st.sampled_from([0.0, 0.1, 3.0]),
)
def test_losses_are_those_at_the_best_temperature(seed, size, kind, start):
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(200, 4))
    y = (z + rng.normal(size=z.shape)).argmax(1) if kind == "single-label" else (z + rng.normal(size=z.shape) > 0) * 1.0
    w = rng.uniform(0, 2, y.shape)
    losses, sharpness = calibrated_losses(size * z, y, kind, w, start)
    best = golden(size * z, y, kind, w)
    assert losses.shape == w.shape
    assert (losses * w).sum() == pytest.approx((best * w).sum(), rel=1e-7)
    np.testing.assert_allclose(losses, best, rtol=1e-2, atol=1e-2)
    assert sharpness > 0


def test_float32_logits_give_7_digits():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(5000, 6)).astype(np.float32)
    y = (z + rng.normal(size=z.shape)).argmax(1)
    one, other = (calibrated_losses(part, y, "single-label", np.ones(5000), 0.0)[0] for part in (z, z.astype(float)))
    assert one.mean() == pytest.approx(other.mean(), rel=1e-6)


@pytest.mark.parametrize("kind", ["single-label", "multi-label"])
@pytest.mark.parametrize("sign", [1.0, -1.0, 0.0])
def test_where_no_temperature_is_best_it_is_the_one_of_calibrating(kind, sign):
    y = np.arange(30) % 3
    onehot = np.eye(3)[y]
    z = sign * (2 * onehot - 1)
    targets = y if kind == "single-label" else onehot
    w = np.ones(targets.shape)
    losses, _ = calibrated_losses(z, targets, kind, w, 1.0)
    np.testing.assert_allclose(losses, golden(z, targets, kind, w))


def test_nothing_to_judge():
    losses, start = calibrated_losses(np.zeros((4, 2)), np.array([0, 1, 0, 1]), "single-label", np.zeros(4), 0.5)
    assert np.isfinite(losses).all()
    assert start == 0.5
