"""The logistic path against scikit-learn's optimum at a tight tolerance, and its certificates against true gaps."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from transfuse.core.errors import UsageError
from transfuse.probing.logistic import passes, rows
from transfuse.probing.logistic.fits import logistic_cv, logistic_fit


def blobs(n, d, c, seed, spread=1.0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % c
    return rng.normal(size=(c, d))[y] * spread + rng.normal(size=(n, d)), y


def ill_conditioned(n, d, c, seed):
    """Random-ReLU features: one direction has half of the variance, the smallest ones a millionth."""
    rng = np.random.default_rng(seed)
    y = rng.integers(c, size=n)
    h = (rng.normal(size=(c, 32))[y] * 0.6 + rng.normal(size=(n, 32))) * np.arange(1, 33) ** -1.2
    x = np.maximum(h @ rng.normal(size=(32, d)) + 0.5 * rng.normal(size=d), 0)
    return ((x - x.mean(0)) / (x.std(0) + 1e-9)).astype(np.float32), y


def gathered(*args, **options):
    """A path read to its end, its arrays stacked by strength."""
    path = logistic_cv(*args, **options)
    points = [replace(point, held_NC=point.held_NC.copy()) for point in path.points]
    held_JNC = np.stack([point.held_NC for point in points])
    certificate_JK = np.stack([point.certificate_K for point in points])
    return SimpleNamespace(points=points, rows=path.rows, held_JNC=held_JNC, certificate_JK=certificate_JK)


def standardised(x, w):
    mean = np.average(x, axis=0, weights=w)
    scale = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=w))
    return (x - mean) / scale, mean, scale


def objective(z, targets, w, coef, intercept, strength, kind="single-label"):
    logit = z @ coef.T + intercept
    if kind == "multi-label":
        loss = (np.logaddexp(0.0, logit) - targets * logit).sum(1)
    else:
        loss = np.logaddexp.reduce(logit, axis=1) - (logit * targets).sum(1)
    return w @ loss / w.sum() + 0.5 * strength * (coef**2).sum()


@pytest.mark.parametrize("shape", [(90, 6), (40, 100)])
@pytest.mark.parametrize("strength", [1.0, 1e-2, 1e-4])
def test_multinomial_optimum_equals_scikit_learn(shape, strength):
    x, y = blobs(*shape, 4, seed=1, spread=0.5)
    w = np.random.default_rng(2).uniform(0.2, 2.0, len(y))
    z, mean, scale = standardised(x, w)
    golden = LogisticRegression(C=1 / (strength * w.sum()), tol=1e-10, max_iter=100_000).fit(z, y, sample_weight=w)
    fit = logistic_fit(x, np.eye(4)[y], w, "single-label", strengths=(10.0, 1.0, strength), tolerance=1e-12)
    coef, intercept = fit.weight_CD * scale, fit.bias_C + fit.weight_CD @ mean
    ours, theirs = (
        objective(z, np.eye(4)[y], w, v, b, strength) for v, b in ((coef, intercept), (golden.coef_, golden.intercept_))
    )
    assert ours <= theirs * (1 + 1e-10)
    np.testing.assert_allclose(coef, golden.coef_, atol=2e-5 * np.abs(golden.coef_).max())
    np.testing.assert_allclose(intercept - intercept.mean(), golden.intercept_ - golden.intercept_.mean(), atol=1e-4)


@pytest.mark.parametrize("strength", [1.0, 1e-3])
def test_every_label_is_scikit_learns_binary_problem(strength):
    x, y = blobs(80, 5, 2, seed=3, spread=0.4)
    targets = np.stack([y, x[:, 0] + np.random.default_rng(0).normal(size=80) > 0.3], axis=1).astype(float)
    z, mean, scale = standardised(x, np.ones(80))
    fit = logistic_fit(x, targets, np.ones(80), "multi-label", strengths=(strength,), tolerance=1e-12)
    for column in range(2):
        golden = LogisticRegression(C=1 / (strength * 80), tol=1e-10, max_iter=100_000).fit(z, targets[:, column])
        np.testing.assert_allclose(fit.weight_CD[column] * scale, golden.coef_[0], atol=1e-5)
        np.testing.assert_allclose(fit.bias_C[column] + fit.weight_CD[column] @ mean, golden.intercept_[0], atol=1e-5)


def test_two_classes_equal_scikit_learn_at_half_the_strength():
    x, y = blobs(60, 4, 2, seed=4, spread=0.5)
    z, mean, scale = standardised(x, np.ones(60))
    fit = logistic_fit(x, np.eye(2)[y], np.ones(60), "single-label", strengths=(0.02,), tolerance=1e-12)
    golden = LogisticRegression(C=1 / (0.01 * 60), tol=1e-10, max_iter=100_000).fit(z, y)
    np.testing.assert_allclose((fit.weight_CD[1] - fit.weight_CD[0]) * scale, golden.coef_[0], atol=1e-5)
    bias = np.diff(fit.bias_C + fit.weight_CD @ mean)
    np.testing.assert_allclose(bias, golden.intercept_, atol=1e-5)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999), c=st.integers(2, 5), strength=st.sampled_from([1.0, 1e-1, 1e-3]))
def test_the_gradient_vanishes(seed, c, strength):
    x, y = blobs(40, 6, c, seed)
    w = np.random.default_rng(seed).uniform(0, 2, 40)
    z, _, scale = standardised(x, w)
    fit = logistic_fit(x, np.eye(c)[y], w, "single-label", strengths=(strength,), tolerance=1e-11)
    logit = x @ fit.weight_CD.T + fit.bias_C
    p = np.exp(logit - np.logaddexp.reduce(logit, axis=1)[:, None])
    residual = (p - np.eye(c)[y]) * (w / w.sum())[:, None]
    np.testing.assert_allclose(residual.T @ z + strength * fit.weight_CD * scale, 0, atol=1e-5)
    np.testing.assert_allclose(residual.sum(0), 0, atol=1e-8)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["single-label", "multi-label"])
def test_certificates_hold_and_are_kept_within_the_tolerance(kind, precision):
    x, y = ill_conditioned(400, 60, 4, seed=5)
    targets = np.eye(4)[y]
    strengths = tuple(np.logspace(0, -6, 7))
    arguments = (x, targets, np.ones(400), kind)
    best = [logistic_fit(*arguments, strengths=strengths[: j + 1], tolerance=1e-10) for j in range(7)]
    z, mean, scale = standardised(x.astype(float), np.ones(400))
    for tolerance in (1e-2, 1e-4, 1e-6):
        for j, strength in enumerate(strengths):
            fit = logistic_fit(*arguments, strengths=strengths[: j + 1], tolerance=tolerance, precision=precision)
            rough, low = (
                objective(z, targets, np.ones(400), f.weight_CD * scale, f.bias_C + f.weight_CD @ mean, strength, kind)
                for f in (fit, best[j])
            )
            assert fit.certificate <= tolerance
            assert rough <= low * (1 + fit.certificate) * (1 + 1e-9)


@pytest.mark.parametrize(("n", "d"), [(300, 40), (60, 90)])
@pytest.mark.parametrize(("kind", "c"), [("single-label", 3), ("single-label", 2), ("multi-label", 3)])
def test_held_out_logits_are_those_of_a_fit_without_the_fold(n, d, kind, c):
    x, y = blobs(n, d, c, seed=6, spread=0.4)
    w = np.random.default_rng(6).uniform(0.5, 1.5, n)
    fold_N = np.random.default_rng(7).permutation(n) % 4
    scale = standardised(x, w)[2]
    strengths = (1.0, 0.1, 0.01)
    path = gathered(x, np.eye(c)[y], w, fold_N, kind, scale_D=scale, strengths=strengths, tolerance=1e-10)
    assert path.certificate_JK.max() <= 1e-10
    for k in range(4):
        out = fold_N == k
        for j, strength in enumerate(strengths):
            alone = logistic_fit(
                x[~out], np.eye(c)[y][~out], w[~out], kind, scale_D=scale, strengths=(strength,), tolerance=1e-10
            )
            expected = x[out] @ alone.weight_CD.T + alone.bias_C
            np.testing.assert_allclose(path.held_JNC[j, out], expected, atol=2e-3, rtol=1e-3)


def test_out_of_fold_accuracy_on_digits_is_scikit_learns():
    x, y = load_digits(return_X_y=True)
    z = (x - x.mean(0)) / np.where(x.std(0) > 0, x.std(0), 1.0)
    fold_N = np.arange(len(y)) % 3
    strength = 1e-3
    path = gathered(x, np.eye(10)[y], np.ones(len(y)), fold_N, "single-label", strengths=(0.1, 0.01, strength))
    correct = 0
    for k in range(3):
        train = fold_N != k
        golden = LogisticRegression(C=1 / (strength * train.sum()), tol=1e-6, max_iter=10_000).fit(z[train], y[train])
        correct += int((golden.predict(z[~train]) == y[~train]).sum())
    assert abs((path.held_JNC[2].argmax(1) == y).sum() - correct) <= 3
    assert path.certificate_JK.max() <= 1e-4


def test_a_warm_start_leads_to_the_same_head_in_fewer_passes():
    x, y = ill_conditioned(600, 200, 5, seed=8)
    targets, w, fold_N = np.eye(5)[y], np.ones(600), np.arange(600) % 5
    path = gathered(x, targets, w, fold_N, "single-label", strengths=(1.0, 0.1, 0.01))
    warm = logistic_fit(
        x,
        targets,
        w,
        "single-label",
        strengths=(0.01,),
        tolerance=1e-8,
        start=(path.points[2].weight_CD, path.points[2].bias_C),
    )
    cold = logistic_fit(x, targets, w, "single-label", strengths=(0.01,), tolerance=1e-8)
    like = logistic_fit(x, targets, w, "single-label", strengths=(0.01,), tolerance=1e-8, like=path)
    np.testing.assert_allclose(like.weight_CD, cold.weight_CD, atol=1e-3 * np.abs(cold.weight_CD).max())
    assert warm.passes < cold.passes
    np.testing.assert_allclose(warm.weight_CD, cold.weight_CD, atol=1e-3 * np.abs(cold.weight_CD).max())


@pytest.mark.parametrize("limit", [0, 100_000])
def test_what_does_not_fit_into_memory_is_streamed_to_the_same_result(limit, monkeypatch, tmp_path):
    x, y = ill_conditioned(700, 50, 4, seed=9)
    np.save(tmp_path / "x.npy", x)
    arguments = (np.eye(4)[y], np.ones(700), np.arange(700) % 5, "single-label")
    strengths = (1.0, 0.1, 0.01, 0.001)
    kept = gathered(x, *arguments, strengths=strengths, tolerance=1e-9)
    for module, name, value in ((rows, "IN_MEMORY", limit), (passes, "IN_MEMORY", limit), (rows, "_CACHE", 4096)):
        monkeypatch.setattr(module, name, value)
    streamed = gathered(np.load(tmp_path / "x.npy", mmap_mode="r"), *arguments, strengths=strengths, tolerance=1e-9)
    assert streamed.certificate_JK.max() <= 1e-9
    np.testing.assert_allclose(streamed.held_JNC, kept.held_JNC, atol=0.1)
    rough = gathered(x, *arguments, strengths=strengths)
    assert rough.certificate_JK.max() <= 1e-4


def test_large_means_cost_no_digits():
    x, y = blobs(200, 10, 3, seed=10, spread=0.5)
    far = x + 1000.0
    arguments = (np.eye(3)[y], np.ones(200), "single-label")
    near_fit, far_fit = (logistic_fit(z, *arguments, strengths=(0.1, 0.01), tolerance=1e-10) for z in (x, far))
    np.testing.assert_allclose(far_fit.weight_CD, near_fit.weight_CD, atol=1e-5)
    narrow = logistic_fit(far.astype(np.float32), *arguments, strengths=(0.1, 0.01), tolerance=1e-5)
    np.testing.assert_allclose(narrow.weight_CD, near_fit.weight_CD, atol=5e-3)


def test_separable_classes_with_hardly_any_penalty_stay_finite():
    x, y = blobs(30, 50, 3, seed=7, spread=5.0)
    for strength in (1.0, 1e-8):
        fit = logistic_fit(x, np.eye(3)[y], np.ones(30), "single-label", strengths=(1.0, 0.1, strength), tolerance=1e-5)
        assert np.isfinite(fit.weight_CD).all()
        assert ((x @ fit.weight_CD.T + fit.bias_C).argmax(1) == y).all()


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_separable_classes_are_certified_down_to_weak_strengths(precision):
    x, y = blobs(1000, 200, 5, seed=14, spread=1.0)
    strengths = tuple(np.logspace(1, -8, 10))
    path = gathered(
        x.astype(np.float32),
        np.eye(5)[y],
        np.ones(1000),
        np.arange(1000) // 5 % 5,
        "single-label",
        strengths=strengths,
        precision=precision,
    )
    assert path.certificate_JK.max() <= 1e-4
    assert (path.held_JNC.argmax(2) == y).all()
    assert path.points[-1].passes < 200


def test_columns_without_an_example_get_a_constant():
    x, y = blobs(30, 4, 3, seed=8)
    fit = logistic_fit(x, np.eye(5)[y], np.ones(30), "single-label", strengths=(0.1,))
    assert (fit.weight_CD[3:] == 0).all()
    assert fit.bias_C[3:] == pytest.approx(-np.log(61))
    targets = np.stack([np.ones(30), np.zeros(30), y == 0], axis=1)
    fit = logistic_fit(x, targets.astype(float), np.ones(30), "multi-label", strengths=(0.1,))
    assert fit.bias_C[:2] == pytest.approx([np.log(61), -np.log(61)])
    assert (fit.weight_CD[:2] == 0).all()
    assert (fit.weight_CD[2] != 0).any()


def test_a_class_of_one_fold_only_is_a_constant_for_that_fold():
    x, y = blobs(60, 5, 3, seed=11)
    fold_N = np.arange(60) % 3
    y[y == 2] = 0
    y[fold_N == 1] = np.where(np.arange(20) % 2 == 0, 2, y[fold_N == 1])
    path = gathered(x, np.eye(3)[y], np.ones(60), fold_N, "single-label", strengths=(1.0, 0.1))
    assert path.held_JNC[:, fold_N == 1, 2] == pytest.approx(-np.log(81), abs=1e-5)
    assert (np.abs(np.diff(path.held_JNC[0, fold_N == 0, 2])) > 0).any()
    assert path.certificate_JK.max() <= 1e-4


def test_a_fold_with_all_the_weight_leaves_nothing_to_learn_from():
    x, y = blobs(20, 3, 2, seed=12)
    fold_N = np.arange(20) % 2
    path = gathered(x, np.eye(2)[y], (fold_N == 0).astype(float), fold_N, "single-label", strengths=(1.0,))
    assert (path.held_JNC[0, fold_N == 0] == 0).all()
    assert (path.held_JNC[0, fold_N == 1] != 0).any()


def test_constant_and_repeated_features_change_nothing():
    x, y = blobs(80, 4, 3, seed=13, spread=0.5)
    wide = np.concatenate([x, np.full((80, 1), 7.0), x[:, :1]], axis=1)
    arguments = (np.eye(3)[y], np.ones(80), "single-label")
    fit = logistic_fit(wide, *arguments, strengths=(0.1,), tolerance=1e-10)
    assert (fit.weight_CD[:, 4] == 0).all()
    np.testing.assert_allclose(fit.weight_CD[:, 0], fit.weight_CD[:, 5], atol=1e-6)
    scale = np.append(x.std(0), 0.0)
    plain = logistic_fit(x, *arguments, scale_D=scale[:4], strengths=(0.1,), tolerance=1e-10)
    constant = logistic_fit(wide[:, :5], *arguments, scale_D=scale, strengths=(0.1,), tolerance=1e-10)
    np.testing.assert_allclose(constant.weight_CD[:, :4], plain.weight_CD, atol=1e-6)


def test_two_equal_examples_of_two_classes_are_even():
    fit = logistic_fit(np.ones((2, 3)), np.eye(2), np.ones(2), "single-label", strengths=(0.1,))
    assert (fit.weight_CD == 0).all()
    assert fit.bias_C == pytest.approx([0.0, 0.0])


def test_an_unknown_precision_is_refused():
    with pytest.raises(UsageError, match="precision"):
        logistic_fit(np.eye(3), np.eye(3), np.ones(3), "single-label", precision="float8")
