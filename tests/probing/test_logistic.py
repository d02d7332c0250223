"""The logistic path against scikit-learn's optimum at a tight tolerance."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression

from transfuse.probing.basis import make_basis, project, unfold
from transfuse.probing.logistic import logistic_path


def blobs(n, d, c, seed, spread=1.0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % c
    return rng.normal(size=(c, d))[y] * spread + rng.normal(size=(n, d)), y


def solved(x, targets, w, kind, strengths, tolerance=1e-13):
    basis = make_basis(x, w)
    slopes, intercepts = logistic_path(project(basis, x), basis.values_R, targets, w, kind, strengths, tolerance)
    return basis, [unfold(basis, s, b) for s, b in zip(slopes, intercepts, strict=True)]


def objective(z, y, w, coef, intercept, strength):
    logit = z @ coef.T + intercept
    loss = np.logaddexp.reduce(logit, axis=1) - logit[np.arange(len(y)), y]
    return w @ loss / w.sum() + 0.5 * strength * (coef**2).sum()


@pytest.mark.parametrize("shape", [(90, 6), (40, 100)])
@pytest.mark.parametrize("strength", [1.0, 1e-2, 1e-4])
def test_multinomial_optimum_equals_scikit_learn(shape, strength):
    x, y = blobs(*shape, 4, seed=1, spread=0.5)
    w = np.random.default_rng(2).uniform(0.2, 2.0, len(y))
    basis, path = solved(x, np.eye(4)[y], w, "single-label", (10.0, 1.0, strength))
    z = (x - basis.mean_D) / basis.scale_D
    model = LogisticRegression(C=1 / (strength * w.sum()), tol=1e-10, max_iter=100_000)
    golden = model.fit(z, y, sample_weight=w)
    weight, bias = path[-1]
    coef, intercept = weight * basis.scale_D, bias + weight @ basis.mean_D
    ours, theirs = (
        objective(z, y, w, v, b, strength) for v, b in ((coef, intercept), (golden.coef_, golden.intercept_))
    )
    assert ours <= theirs * (1 + 1e-10)
    np.testing.assert_allclose(coef, golden.coef_, atol=2e-5 * np.abs(golden.coef_).max())
    centred = intercept - intercept.mean()
    np.testing.assert_allclose(centred, golden.intercept_ - golden.intercept_.mean(), atol=1e-4)


@pytest.mark.parametrize("strength", [1.0, 1e-3])
def test_every_label_is_scikit_learns_binary_problem(strength):
    x, y = blobs(80, 5, 2, seed=3, spread=0.4)
    targets = np.stack([y, x[:, 0] + np.random.default_rng(0).normal(size=80) > 0.3], axis=1).astype(float)
    basis, [(weight, bias)] = solved(x, targets, np.ones(80), "multi-label", (strength,))
    z = (x - basis.mean_D) / basis.scale_D
    for column in range(2):
        golden = LogisticRegression(C=1 / (strength * 80), tol=1e-10, max_iter=100_000).fit(z, targets[:, column])
        np.testing.assert_allclose(weight[column] * basis.scale_D, golden.coef_[0], atol=1e-5)
        np.testing.assert_allclose(bias[column] + weight[column] @ basis.mean_D, golden.intercept_[0], atol=1e-5)


def test_two_classes_equal_scikit_learn_at_half_the_strength():
    x, y = blobs(60, 4, 2, seed=4, spread=0.5)
    basis, [(weight, _)] = solved(x, np.eye(2)[y], np.ones(60), "single-label", (0.02,))
    z = (x - basis.mean_D) / basis.scale_D
    golden = LogisticRegression(C=1 / (0.01 * 60), tol=1e-10, max_iter=100_000).fit(z, y)
    np.testing.assert_allclose((weight[1] - weight[0]) * basis.scale_D, golden.coef_[0], atol=1e-5)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999), c=st.integers(2, 5), strength=st.sampled_from([1.0, 1e-1, 1e-3]))
def test_the_gradient_vanishes(seed, c, strength):
    x, y = blobs(40, 6, c, seed)
    w = np.random.default_rng(seed).uniform(0, 2, 40)
    basis, [(weight, bias)] = solved(x, np.eye(c)[y], w, "single-label", (strength,))
    z = (x - basis.mean_D) / basis.scale_D
    logit = x @ weight.T + bias
    p = np.exp(logit - np.logaddexp.reduce(logit, axis=1)[:, None])
    residual = (p - np.eye(c)[y]) * (w / w.sum())[:, None]
    np.testing.assert_allclose(residual.T @ z + strength * weight * basis.scale_D, 0, atol=1e-5)
    np.testing.assert_allclose(residual.sum(0), 0, atol=1e-5)


def test_the_certificate_bounds_the_gap_to_the_optimum():
    x, y = blobs(200, 20, 5, seed=6, spread=0.3)
    z = project(make_basis(x, np.ones(200)), x)
    strengths = (1.0, 1e-1, 1e-2, 1e-3, 1e-4)
    values = make_basis(x, np.ones(200)).values_R
    loose, tight = (
        logistic_path(z, values, np.eye(5)[y], np.ones(200), "single-label", strengths, t) for t in (1e-3, 1e-13)
    )
    for j, strength in enumerate(strengths):
        rough, best = (objective(z, y, np.ones(200), s[j].T, b[j], strength) for s, b in (loose, tight))
        assert best <= rough + 1e-12
        assert rough <= best * (1 + 1e-3)


def test_separable_classes_with_hardly_any_penalty_stay_finite():
    x, y = blobs(30, 50, 3, seed=7, spread=5.0)
    _, path = solved(x, np.eye(3)[y], np.ones(30), "single-label", (1.0, 1e-8), 1e-9)
    for weight, bias in path:
        assert np.isfinite(weight).all()
        assert ((x @ weight.T + bias).argmax(1) == y).all()


def test_columns_without_an_example_get_a_constant():
    x, y = blobs(30, 4, 3, seed=8)
    weight, bias = solved(x, np.eye(5)[y], np.ones(30), "single-label", (0.1,))[1][0]
    assert (weight[3:] == 0).all()
    assert bias[3:] == pytest.approx(-np.log(61))
    targets = np.stack([np.ones(30), np.zeros(30), y == 0], axis=1)
    weight, bias = solved(x, targets.astype(float), np.ones(30), "multi-label", (0.1,))[1][0]
    assert bias[:2] == pytest.approx([np.log(61), -np.log(61)])
    assert (weight[:2] == 0).all()
    assert (weight[2] != 0).any()
