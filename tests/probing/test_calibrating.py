"""Calibration: temperature and vectors against scipy's minimisers, and where there is none."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_expit, log_softmax, softmax

from transfuse.core.errors import UsageError
from transfuse.probing.calibrating import calibrate, calibrated, log_losses, temperature, vector_scaling


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


def negative_log_posterior(parameters, z, y, kind, weights, start):
    """The objective as it stands in the module's head, by scipy's functions."""
    c = z.shape[1]
    scale, bias = parameters[:c], parameters[c:]
    prior = 0.5 * (((scale - 1) ** 2).sum() + (bias**2).sum())
    if kind == "multi-label":
        u = z / start * scale + bias
        return prior - (weights * (y * log_expit(u) + (1 - y) * log_expit(-u))).sum()
    u = (z - z.mean(axis=1, keepdims=True)) / start * scale + bias
    return prior - (weights * log_softmax(u, axis=1)[np.arange(len(y)), y]).sum()


@pytest.mark.parametrize("kind", ["single-label", "multi-label"])
@pytest.mark.parametrize("seed", [0, 1])
def test_vector_scaling_is_the_highest_posterior(kind, seed):
    z, y = noisy_logits(seed, n=90)
    rng = np.random.default_rng(seed)
    weights = rng.uniform(0, 2, 90)
    if kind == "multi-label":
        y, weights = (rng.random(z.shape) < expit(z / 2 - 0.5)).astype(float), rng.uniform(0, 2, z.shape)
    scale, bias = vector_scaling(z, y, kind, weights)
    start = temperature(z, y, kind, weights)
    arguments = (z, y, kind, weights, start)
    golden = minimize(
        negative_log_posterior, np.repeat([1.0, 0.0], 4), arguments, method="BFGS", options={"gtol": 1e-7}
    )
    np.testing.assert_allclose(np.concatenate([scale * start, bias]), golden.x, atol=2e-5)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10**6), shift=st.floats(-50, 50), scale=st.floats(1e-2, 1e2))
def test_vector_scaling_does_not_see_what_the_softmax_does_not(seed, shift, scale):
    z, y = noisy_logits(seed, n=30)
    once = vector_scaling(z, y, "single-label")
    rows = np.random.default_rng(seed).normal(size=(30, 1)) * shift
    again = vector_scaling(scale * (z + rows), y, "single-label")
    np.testing.assert_allclose(again[0] * scale, once[0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(again[1], once[1], atol=1e-5)


def test_weights_are_repetitions_for_vectors_too():
    z, y = noisy_logits(3)
    times = np.random.default_rng(3).integers(0, 4, len(y))
    weighted = vector_scaling(z, y, "single-label", times.astype(float))
    repeated = vector_scaling(np.repeat(z, times, 0), np.repeat(y, times, 0), "single-label")
    np.testing.assert_allclose(weighted, repeated, atol=1e-6)


def test_vector_scaling_finds_what_was_distorted():
    rng = np.random.default_rng(4)
    true = rng.normal(size=(20_000, 3)) * 2
    y = (true + rng.gumbel(size=true.shape)).argmax(axis=1)
    centred = true - true.mean(axis=1, keepdims=True)
    scale, bias = np.array([0.5, 1.0, 2.0]), np.array([1.0, 0.0, -1.0])
    distorted = (centred - bias) / scale
    # centring the distorted rows mixes their classes, so the distortion is undone nearly, not exactly
    found = calibrate(distorted, y, "single-label", np.arange(20_000) % 5)
    assert found.method == "vector" and found.gain["low"] > 0.05 and found.gain["n"] == 20_000
    losses = log_losses(calibrated(found, distorted), y, "single-label").mean()
    assert losses < log_losses(distorted / temperature(distorted, y, "single-label"), y, "single-label").mean() - 0.05
    labels = (rng.random((9_000, 3)) < expit(true[:9_000])).astype(float)
    scaled, biased = vector_scaling((true[:9_000] - bias) / scale, labels, "multi-label")
    np.testing.assert_allclose(scaled, scale, rtol=0.08)
    np.testing.assert_allclose(biased, bias, atol=0.1)


def test_the_temperature_stays_when_within_noise():
    rng = np.random.default_rng(5)
    z = rng.normal(size=(400, 4)) * 2
    y = (z + rng.gumbel(size=z.shape)).argmax(axis=1)
    found = calibrate(3 * z, y, "single-label", np.arange(400) % 5)
    assert found.method == "temperature" and found.gain["low"] <= 0
    assert found.scale_C == pytest.approx(np.full(4, 1 / temperature(3 * z, y, "single-label")))
    np.testing.assert_allclose(softmax(calibrated(found, 3 * z), axis=1), softmax(3 * z * found.scale_C[0], axis=1))


def test_held_out_losses_are_those_of_refits():
    z, y = noisy_logits(6)
    fold = np.arange(60) % 3
    found = calibrate(z, y, "single-label", fold)
    golden = [
        log_losses(z[fold == k] / temperature(z[fold != k], y[fold != k], "single-label"), y[fold == k], "single-label")
        for k in range(3)
    ]
    assert found.log_losses["temperature"] == pytest.approx(np.concatenate(golden).mean(), rel=1e-9)


def test_a_single_fold_and_regression_are_not_judged():
    z, y = noisy_logits(7)
    alone = calibrate(z, y, "single-label", np.zeros(60, dtype=int))
    assert alone.method == "temperature" and np.isnan(alone.gain["value"]) and alone.gain["n"] == 0
    values = calibrate(z, z, "regression", np.arange(60) % 2)
    np.testing.assert_array_equal(calibrated(values, z), z)


@pytest.mark.parametrize("y", [np.array([0, 1, 2, 0]), np.array([1, 1, 1, 1])])
def test_vector_scaling_has_an_answer_for_any_data(y):
    z = np.eye(3)[[0, 1, 2, 0]] * 50
    scale, bias = vector_scaling(z, y, "single-label")
    assert np.isfinite(scale).all() and np.isfinite(bias).all() and abs(bias).max() < 10
