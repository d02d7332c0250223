"""LogME and the H-scores against golden values, dense Gaussians and scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.covariance import LedoitWolf

from transfuse.core.errors import DataError, UsageError
from transfuse.probing.evidence import h_score, ledoit_wolf, logme
from transfuse.probing.moments import added, moments


def tall():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 60)
    means = rng.normal(size=(3, 8))
    return means[y] * 1.5 + rng.normal(size=(60, 8)), np.eye(3)[y]


def wide():
    rng = np.random.default_rng(1)
    y = np.arange(40) % 4
    means = rng.normal(size=(4, 96))
    return means[y] * 0.7 + rng.normal(size=(40, 96)), np.eye(4)[y]


def imbalanced():
    rng = np.random.default_rng(2)
    share = 0.7 ** np.arange(10)
    y = rng.choice(10, 200, p=share / share.sum())
    y[:10] = np.arange(10)
    means = rng.normal(size=(10, 32))
    return np.maximum(means[y] + rng.normal(size=(200, 32)), 0.0), np.eye(10)[y]


def noise():
    rng = np.random.default_rng(3)
    return rng.normal(size=(120, 16)), np.eye(4)[np.arange(120) % 4]


def deficient():
    rng = np.random.default_rng(4)
    y = np.arange(80) % 3
    few = rng.normal(size=(80, 5)) + np.eye(5)[y] * 2
    return np.concatenate([few, few[:, :4], np.zeros((80, 3))], 1), np.eye(3)[y]


def large():
    x, t = tall()
    return 10.0 * x, t


def values():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(50, 6))
    return x, x @ rng.normal(size=(6, 2)) + 0.3 * rng.normal(size=(50, 2))


# the exact maximum; H-scores of the Transfer-Learning-Library, commit c4aa59e
GOLDEN = [
    (tall, -0.17803934079537242, 1.7282416383372505, 1.6637273155449808),
    (wide, -0.1442423473810251, 2.9999999999999996, 2.6248888545201483),
    (imbalanced, 0.41383204771591364, 5.9177679600924336, 5.410599066862272),
    (noise, -0.7231134759455675, 0.4001245820829084, 0.0),
    (deficient, -0.4841055301909958, 1.278164619127016, 1.2645238384284012),
    (large, -0.1780393407953723, 1.7282416383372465, 1.6637273155449779),
]


@pytest.mark.parametrize(("case", "evidence", "plain", "shrunk"), GOLDEN)
def test_golden_values(case, evidence, plain, shrunk):
    x, t = case()
    m = moments(x, t, exact=True)
    assert logme(m) == pytest.approx(evidence, abs=1e-10)
    assert h_score(m) == pytest.approx(plain, abs=1e-10)
    assert h_score(m, shrink=ledoit_wolf(x, m)) == pytest.approx(shrunk, abs=1e-10)


def test_golden_value_of_regression():
    assert logme(moments(*values(), exact=True)) == pytest.approx(-0.5129412384727059, abs=1e-10)


@pytest.mark.parametrize(("case", "evidence", "plain", "shrunk"), GOLDEN)
def test_float32_statistics_keep_four_digits(case, evidence, plain, shrunk):
    x, t = case()
    m = moments(x.astype(np.float32), t)
    assert logme(m) == pytest.approx(evidence, abs=1e-4)
    assert h_score(m) == pytest.approx(plain, abs=1e-4)
    assert h_score(m, shrink=ledoit_wolf(x.astype(np.float32), m)) == pytest.approx(shrunk, abs=1e-4)


def dense_evidence(x, t, log_strength):
    """Log density of t under its N x N Gaussian, at the best precision, per example."""
    n = len(x)
    covariance = np.eye(n) + x @ x.T * np.exp(-log_strength)
    squares = t @ np.linalg.solve(covariance, t)
    return -0.5 * (np.log(2 * np.pi * squares / n) + 1 + np.linalg.slogdet(covariance)[1] / n)


@settings(deadline=None, max_examples=40)
@given(n=st.integers(4, 25), d=st.integers(1, 40), signal=st.sampled_from([0.0, 0.3, 3.0]), seed=st.integers(0, 999))
def test_logme_is_the_maximum_of_the_dense_evidence(n, d, signal, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) * rng.uniform(0.01, 3, d) + rng.normal(size=d)
    t = signal * x @ rng.normal(size=d) + rng.normal(size=n)
    found = logme(moments(x, t, exact=True))
    grid = np.linspace(-20, 30, 101)
    best = grid[np.argmax([dense_evidence(x, t, s) for s in grid])]
    refined = minimize_scalar(
        lambda s: -dense_evidence(x, t, s), bounds=(best - 0.6, best + 0.6), options={"xatol": 1e-9}
    )
    if best < -19:  # with as many features as examples the limit of no penalty, which the dense form cannot reach
        assert found >= -refined.fun - 1e-6
    else:
        assert found == pytest.approx(-refined.fun, abs=1e-7)


def test_statistics_of_shards_give_the_scores_of_the_whole():
    x, t = imbalanced()
    whole = moments(x, t, exact=True)
    parts = added(moments(x[:70], t[:70], exact=True), moments(x[70:], t[70:], exact=True))
    assert logme(parts) == pytest.approx(logme(whole), abs=1e-12)
    assert h_score(parts) == pytest.approx(h_score(whole), abs=1e-12)


def test_weights_count_as_repeats():
    x, t = imbalanced()
    w = np.random.default_rng(0).integers(0, 3, len(x))
    weighted, repeated = moments(x, t, w, exact=True), moments(x.repeat(w, 0), t.repeat(w, 0), exact=True)
    assert logme(weighted) == pytest.approx(logme(repeated), abs=1e-10)
    assert h_score(weighted, shrink=0.1) == pytest.approx(h_score(repeated, shrink=0.1), abs=1e-10)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999))
def test_h_score_ignores_units_copies_constants_and_absent_classes(seed):
    rng = np.random.default_rng(seed)
    x, t = tall()
    changed = np.concatenate([x * 10.0 ** rng.uniform(-4, 4, 8) + rng.normal(size=8), x[:, :3], np.ones((60, 2))], 1)
    m = moments(changed, np.concatenate([t, np.zeros((60, 1))], 1), exact=True)
    assert h_score(m) == pytest.approx(h_score(moments(x, t, exact=True)), abs=1e-7)


def test_logme_ignores_dead_features_and_absent_classes():
    x, t = tall()
    m = moments(np.pad(x, ((0, 0), (0, 5))), np.pad(t, ((0, 0), (0, 2))), exact=True)
    assert logme(m) == pytest.approx(logme(moments(x, t, exact=True)), abs=1e-12)


def test_targets_that_the_features_give_exactly_have_a_high_finite_score():
    x, t = tall()
    score = logme(moments(np.concatenate([x, t], 1), t, exact=True))
    assert np.isfinite(score)
    assert score > 5


def test_features_without_variance_say_nothing():
    _, t = tall()
    m = moments(np.full((60, 3), 7.0), t, exact=True)
    assert h_score(m) == h_score(m, shrink=0.5) == 0.0
    assert np.isfinite(logme(moments(np.zeros((60, 3)), t, exact=True)))


@settings(deadline=None, max_examples=30)
@given(n=st.integers(2, 50), d=st.integers(2, 60), seed=st.integers(0, 999))
def test_shrinkage_equals_scikit_learn(n, d, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 5
    m = moments(x, np.ones(n), exact=True)
    assert ledoit_wolf(x, m) == pytest.approx(LedoitWolf().fit(x).shrinkage_, abs=1e-10)


def test_shrinkage_of_one_feature_is_none():
    x = np.random.default_rng(0).normal(size=(9, 1))
    assert ledoit_wolf(x, moments(x, np.ones(9), exact=True)) == 0.0


def test_bad_input():
    x, t = tall()
    with pytest.raises(DataError, match="zero throughout"):
        logme(moments(x, 0 * t))
    with pytest.raises(UsageError, match="one-hot"):
        h_score(moments(x, np.ones((60, 3))))
    with pytest.raises(UsageError, match="one-hot"):
        h_score(moments(x, x[:, :2]))
    with pytest.raises(UsageError, match=r"0\.\.1, but is 1\.5"):
        h_score(moments(x, t), shrink=1.5)
    with pytest.raises(DataError, match="at least 2"):
        h_score(moments(x[:1], t[:1]))
    with pytest.raises(UsageError, match=r"\(60, 8\)"):
        ledoit_wolf(x[:5], moments(x, t))
