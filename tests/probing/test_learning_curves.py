"""Learning curves: the law is found, and what it says of twice the labels comes about."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls
from sklearn.datasets import load_digits

from transfuse.core.errors import DataError, UsageError
from transfuse.probing.learning_curves import fit_power_law, gain, learning_curve, predicted, spoken

LABELS = np.array([100.0, 200.0, 400.0, 800.0])


@pytest.fixture(scope="module")
def digits():
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    return (x[order] / 16).astype(np.float32), y[order]


@settings(deadline=None, max_examples=50)
@given(limit=st.floats(0, 0.5), factor=st.floats(0.1, 5), exponent=st.floats(0.35, 1.9))
def test_a_power_law_is_found(limit, factor, exponent):
    errors = limit + factor * LABELS**-exponent
    [[a, b, c]] = fit_power_law(LABELS, errors[None])
    np.testing.assert_allclose(a + b * LABELS**-c, errors, atol=0.01 * errors[0])  # exponents are 5 % apart
    assert a + b * 1600.0**-c == pytest.approx(limit + factor * 1600.0**-exponent, abs=0.01 * errors[0])


@settings(deadline=None, max_examples=50)
@given(seed=st.integers(0, 9999))
def test_it_is_the_best_of_all_exponents(seed):
    errors = np.random.default_rng(seed).uniform(0, 1, 4)
    [[a, b, c]] = fit_power_law(LABELS, errors[None])
    w = np.sqrt(LABELS / LABELS.sum())
    found = (w**2 * (a + b * LABELS**-c - errors) ** 2).sum()
    others = [
        nnls(w[:, None] * np.stack([np.ones(4), (LABELS / 800) ** -e], 1), w * errors)[1] ** 2
        for e in np.geomspace(0.3, 2, 40)
    ]
    assert found == pytest.approx(min(others), abs=1e-12) and a >= 0 and b >= 0


def test_twice_the_labels_give_what_was_predicted(digits):
    x, y = digits
    half = learning_curve(x[:800], y[:800], "single-label")
    whole = learning_curve(x[:1600], y[:1600], "single-label", sizes=2, draws=1)
    assert half.labels_S[-1] * 2 == whole.labels_S[-1] == 1280
    found = predicted(half, 1280)
    assert found["low"] <= whole.value_S[-1] <= found["high"] and found["high"] - found["low"] < 0.06
    assert (
        (np.diff(half.value_S) > 0).all() and (half.low_S < half.value_S).all() and (half.value_S < half.high_S).all()
    )
    assert 0 < gain(half)["value"] < 0.03
    assert gain(half, 4)["value"] > gain(half)["value"]
    assert gain(half, 0.5)["value"] < 0 and gain(half, 1)["value"] == 0


def test_intervals_are_as_wide_as_chance_and_the_miss(digits):
    x, y = digits
    curve = learning_curve(x[:800], y[:800], "single-label")
    error = np.sqrt(curve.value_S[-1] * (1 - curve.value_S[-1]) / 800)
    assert (curve.high_S[-1] - curve.low_S[-1]) / (2 * 1.96) == pytest.approx(error, rel=0.25)
    found = predicted(curve, 2 * curve.labels_S[-1])
    assert found["value"] - found["low"] >= abs(curve.miss) * 0.999


def test_sentences(digits):
    x, y = digits
    curve = learning_curve(x[:800], y[:800], "single-label")
    found = gain(curve)
    assert spoken(curve) == (
        f"Twice the labels (1,600) would give about {100 * found['value']:+.1f} points of accuracy "
        f"({100 * found['low']:+.1f} to {100 * found['high']:+.1f})."
    )
    assert spoken(curve, 3).startswith("3 times the labels (2,400)")
    few = learning_curve(x[:40], y[:40], "single-label")
    assert len(few.labels_S) == 3 and np.isnan(few.miss) and np.isnan(gain(few)["value"])
    assert "too few examples (40)" in spoken(few)


@pytest.mark.parametrize("kind", ["multi-label", "regression"])
def test_other_kinds(kind):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 20))
    values = x @ rng.normal(size=(20, 3)) + rng.normal(size=(600, 3)) * 2
    y = (values > 0).astype(float) if kind == "multi-label" else values * 100 + 7
    curve = learning_curve(x, y, kind)
    assert curve.metric == {"multi-label": "label accuracy", "regression": "r2"}[kind]
    truth = 1 - 4 / (values.var(0)).mean() if kind == "regression" else None
    assert truth is None or curve.value_S[-1] == pytest.approx(truth, abs=0.05)
    assert curve.value_S[-1] > curve.value_S[0] and ("R²" in spoken(curve)) == (kind == "regression")


def test_examples_of_no_weight_do_not_count(digits):
    x, y = digits
    weights = np.ones(400)
    weights[200:] = 0
    wrong = np.concatenate([y[:200], (y[200:400] + 1) % 10])
    with_them = learning_curve(x[:400], wrong, "single-label", weights_N=weights)
    right = learning_curve(x[:400], y[:400], "single-label", weights_N=weights)
    assert with_them.value_S[-1] == pytest.approx(right.value_S[-1], abs=0.06)


def test_it_is_a_function_of_its_seed(digits):
    x, y = digits
    one, again, other = (learning_curve(x[:300], y[:300], "single-label", seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.value_S, again.value_S)
    np.testing.assert_array_equal(one.fits_B3, again.fits_B3)
    assert (one.value_S != other.value_S).any()


def test_a_class_that_is_in_one_fold_only():
    rng = np.random.default_rng(0)
    y = np.array([0, 1] * 30 + [2])
    curve = learning_curve(rng.normal(size=(61, 4)) + y[:, None], y, "single-label")
    assert np.isfinite(curve.value_S).all()


def test_bad_input_is_refused():
    x, y = np.random.default_rng(0).normal(size=(30, 3)), np.arange(30) % 2
    with pytest.raises(UsageError, match="`sizes` and `draws`"):
        learning_curve(x, y, "single-label", sizes=0)
    with pytest.raises(DataError, match="all examples are one group"):
        learning_curve(x, y, "single-label", groups=["a"] * 30)
    with pytest.raises(DataError, match="finite"):
        learning_curve(np.where(x > 2, np.nan, x) * np.array([np.nan, 1, 1]), y, "single-label")
    curve = learning_curve(x, y, "single-label")
    for call in (lambda: predicted(curve, 0), lambda: gain(curve, -1)):
        with pytest.raises(UsageError, match="must be positive"):
            call()
