"""Leave-one-out against fits that leave one out, and scikit-learn's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge, RidgeClassifierCV

from transfuse.core.errors import DataError
from transfuse.probing.basis import row_deviations_D
from transfuse.probing.loo import leave_one_out, left_out, spectrum

STRENGTHS = (10.0, 1.0, 1e-1, 1e-2, 1e-3)


def drawn(n, d, c=3, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.arange(n) % c)
    return (rng.normal(size=(c, d)))[y] + rng.normal(size=(n, d)) + 5, y, rng.uniform(0.2, 2, n)


def refits(x, t, w, strength):
    """Answers of heads that were fitted without each row; scale and total penalty of all rows."""
    z = x / row_deviations_D(x, w)
    answers = np.empty(t.shape)
    for row in range(len(x)):
        rest = np.arange(len(x)) != row
        model = Ridge(alpha=strength * w.sum(), tol=1e-12).fit(z[rest], t[rest], sample_weight=w[rest])
        answers[row] = model.predict(z[row : row + 1]).ravel()
    return answers


@settings(deadline=None, max_examples=12)
@given(n=st.integers(6, 25), d=st.integers(1, 30), seed=st.integers(0, 99))
def test_every_row_is_answered_as_by_a_fit_without_it(n, d, seed):
    x, y, w = drawn(n, d, seed=seed)
    t = np.eye(3)[y]
    of = spectrum(x, t, w)
    found = leave_one_out(of, STRENGTHS)
    for j, strength in enumerate(STRENGTHS):
        golden = refits(x, t, w, strength)
        np.testing.assert_allclose(left_out(of, strength), golden, atol=1e-7)
        assert found.squared_error_J[j] == pytest.approx(np.average(((golden - t) ** 2).mean(1), weights=w), rel=1e-7)
        assert found.accuracy_J[j] == pytest.approx(np.average(golden.argmax(1) == y, weights=w))


def test_values_instead_of_classes_have_an_error_and_no_accuracy():
    x, y, w = drawn(30, 4)
    t = np.stack([x[:, 0] + y, x[:, 1] ** 2], axis=1)
    found = leave_one_out(spectrum(x, t, w), STRENGTHS)
    golden = [np.average(((refits(x, t, w, s) - t) ** 2).mean(1), weights=w) for s in STRENGTHS]
    np.testing.assert_allclose(found.squared_error_J, golden, rtol=1e-8)
    assert np.isnan(found.accuracy_J).all()


@pytest.mark.parametrize("shape", [(200, 30), (40, 90)])
def test_scikit_learns_cross_validated_classifier_agrees(shape):
    x, y, _ = drawn(*shape)
    x /= row_deviations_D(x, np.ones(len(x)))
    found = leave_one_out(spectrum(x, np.eye(3)[y], np.ones(len(x))), STRENGTHS)
    golden = RidgeClassifierCV(alphas=np.array(STRENGTHS) * len(x), store_cv_results=True).fit(x, y)
    # its targets are -1 and 1
    np.testing.assert_allclose(4 * found.squared_error_J, golden.cv_results_.mean(axis=(0, 1)), rtol=1e-7)
    assert golden.alpha_ == pytest.approx(STRENGTHS[int(found.squared_error_J.argmin())] * len(x))


@pytest.mark.parametrize("count", [5, 20])
def test_float32_and_its_compressed_products_are_as_close_as_promised(count):
    x, y, w = drawn(3000, 40, c=5)
    x = (x @ np.diag(np.logspace(0, -2, 40)) @ np.random.default_rng(1).normal(size=(40, 40))).astype(np.float32)
    strengths = tuple(np.logspace(2, -6, count))
    of = [spectrum(x, np.eye(5)[y], w, exact=exact) for exact in (True, False)]
    exact, rough = (leave_one_out(one, strengths) for one in of)
    weak = np.array(strengths) < 1e-3
    np.testing.assert_allclose(rough.squared_error_J[~weak], exact.squared_error_J[~weak], rtol=1e-5)
    np.testing.assert_allclose(rough.squared_error_J[weak], exact.squared_error_J[weak], rtol=1e-4)
    np.testing.assert_allclose(rough.accuracy_J, exact.accuracy_J, atol=2e-3)
    np.testing.assert_allclose(left_out(of[1], 0.01), left_out(of[0], 0.01), atol=1e-4)


def test_bfloat16_products_choose_the_same_strength():
    x, y, w = drawn(3000, 40, c=5)
    of = spectrum(x.astype(np.float32), np.eye(5)[y], w, exact=False)
    exact, rough = (leave_one_out(of, STRENGTHS, precision=p) for p in ("float32", "bfloat16"))
    assert (exact.squared_error_J != rough.squared_error_J).any()
    np.testing.assert_allclose(rough.squared_error_J, exact.squared_error_J, rtol=1e-3)
    np.testing.assert_allclose(rough.accuracy_J, exact.accuracy_J, atol=5e-3)
    assert rough.squared_error_J.argmin() == exact.squared_error_J.argmin()


def test_rows_of_weight_0_are_answered_and_not_counted():
    x, y, w = drawn(40, 5)
    w[:10] = 0
    t = np.eye(3)[y]
    one, other = spectrum(x, t, w), spectrum(x[10:], t[10:], w[10:])
    np.testing.assert_allclose(left_out(one, 0.1)[10:], left_out(other, 0.1), atol=1e-9)
    for name in ("squared_error_J", "accuracy_J"):
        ours, theirs = (getattr(leave_one_out(of, STRENGTHS), name) for of in (one, other))
        np.testing.assert_allclose(ours, theirs, atol=1e-9)


def test_features_that_say_nothing_are_never_right_for_balanced_classes():
    found = leave_one_out(spectrum(np.ones((30, 4)), np.eye(3)[np.arange(30) % 3], np.ones(30)), STRENGTHS)
    np.testing.assert_allclose(found.accuracy_J, 0)  # without the row its class is the rarest


def test_two_examples_and_no_weight():
    x, t = np.array([[0.0, 1.0], [1.0, 0.0]]), np.eye(2)
    np.testing.assert_allclose(left_out(spectrum(x, t, np.ones(2)), 1.0), t[::-1], atol=1e-9)
    with pytest.raises(DataError, match="not all be 0"):
        spectrum(x, t, np.zeros(2))
