"""Scores of strangers against pytorch-ood and scikit-learn, and thresholds that keep their promise."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import OAS

from transfuse.core.errors import DataError, UsageError
from transfuse.probing.moments import moments
from transfuse.probing.outside import (
    distances,
    gaussians,
    gaussians_of_rows,
    neighbours,
    principal,
    scores,
    some_known,
    threshold,
)


def data(seed: int = 0, n: int = 60, d: int = 5, c: int = 3) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    y_N = np.arange(n) % c
    return generator.normal(size=(n, d)) * np.linspace(0.3, 2, d) + 3 * np.eye(c, d)[y_N] + 50, y_N


KNOWN = np.array(
    [[.5, 1, -1], [1.5, .2, -.7], [.9, 1.4, -1.6], [1.1, .3, -.2], [-1, 2, .4], [-.6, 1.1, 1.3], [-1.7, 1.6, .1],
     [-.8, 2.4, .8]]
)  # fmt: skip
CLASSES = np.repeat([0, 1], 4)
ASKED = np.array([[0.8, 0.9, -0.9], [0, 0, 0], [3, -2, 5], [-1, 1.8, 0.6]])


def test_the_scores_are_those_of_pytorch_ood():
    """Golden values of pytorch-ood 0.4.0, whose covariances are sums; it halves distances."""
    logits_NC = np.array([[2, -1, 0.5], [0, 0, 0], [-3, -4, 10]])
    energies = [-2.241311296657157, -1.0986122886681098, -10.000003091853346]
    np.testing.assert_allclose(scores("energy", "single-label", logits_NC, None, {}), energies, rtol=1e-9)
    nearest = [0.6294464468955994, 0.9999999403953552, 1.3723145723342896, 0.38508570194244385]
    known = {**some_known(KNOWN, k=3)}
    np.testing.assert_allclose(scores("neighbours", "single-label", ASKED, ASKED, known), nearest, atol=1e-6)
    means_CD = np.stack([KNOWN[c == CLASSES].mean(0) for c in (0, 1)])
    within = principal(np.cov((KNOWN - means_CD[CLASSES]).T, bias=True), 10**12)
    distance_N = distances(ASKED, means_CD, within).min(1)
    golden = np.array([0.04066348075866699, 1.7300856113433838, 7.927886486053467, 0.0026607573963701725])
    np.testing.assert_allclose(distance_N / 16, golden, rtol=1e-4)


def test_the_shrunk_covariance_is_scikit_learns():
    x_ND, _ = data(n=60)
    directions, variances, _ = principal(np.cov(x_ND.T, bias=True), len(x_ND))
    shrunk_DD = (directions.T * variances) @ directions
    np.testing.assert_allclose(shrunk_DD, OAS().fit(x_ND).covariance_, rtol=1e-9, atol=1e-12)


def test_sums_give_the_distances_that_the_rows_give():
    x_ND, y_N = data()
    statistics = gaussians(moments(x_ND, np.eye(3)[y_N]), classes=True)
    means_CD = np.stack([x_ND[y_N == c].mean(0) for c in range(3)])
    centred = x_ND - means_CD[y_N]
    directions, variances, _ = principal(centred.T @ centred / len(x_ND), len(x_ND) - 3)
    inverse = (directions.T / variances) @ directions
    expected = [min((x - m) @ inverse @ (x - m) for m in means_CD) for x in x_ND]
    np.testing.assert_allclose(scores("mahalanobis", "single-label", x_ND, x_ND, statistics), expected, rtol=1e-4)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 100), st.integers(1, 30))
def test_directions_that_are_left_out_share_their_variance(seed: int, kept: int):
    d = 30
    generator = np.random.default_rng(seed)
    root = generator.normal(size=(d, d))
    covariance = root @ root.T
    directions, variances, rest = principal(covariance, 10**9, widest=5, kept=kept)
    assert len(directions) == kept
    assert variances.sum() + (d - kept) * rest == pytest.approx(np.trace(covariance), rel=1e-6)
    modelled = (directions.T * (variances - rest)) @ directions + rest * np.eye(d)
    x, mean = generator.normal(size=(4, d)), generator.normal(size=(2, d))
    expected = [[(a - m) @ np.linalg.solve(modelled, a - m) for m in mean] for a in x]
    np.testing.assert_allclose(distances(x, mean, (directions, variances, rest)), expected, rtol=1e-6)


def test_few_rows_of_many_features_give_the_same_by_their_inner_products():
    x_ND, y_N = data(n=24, d=40)
    by_sums = gaussians(moments(x_ND, np.eye(3)[y_N], exact=True), classes=True)
    by_rows = gaussians_of_rows(x_ND, y_N)
    asked = data(1, n=12, d=40)[0]
    first, second = (scores("mahalanobis", "single-label", asked, asked, s) for s in (by_sums, by_rows))
    np.testing.assert_allclose(first, second, rtol=1e-3)


def test_neighbours_are_those_of_brute_force():
    x_ND, _ = data(n=300)
    known = some_known(x_ND, seed=1, most=100, k=7)
    assert known["known_MD"].shape == (100, 5) and known["neighbours"] == 7
    unit = x_ND / np.linalg.norm(x_ND, axis=1, keepdims=True)
    expected = np.sort(np.linalg.norm(unit[:, None] - known["known_MD"][None], axis=2), axis=1)[:, 6]
    np.testing.assert_allclose(neighbours(x_ND, known["known_MD"], 7), expected, atol=1e-5)
    again = some_known(x_ND, seed=1, most=100, k=7)
    np.testing.assert_array_equal(again["known_MD"], known["known_MD"])


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=400), st.floats(0.001, 0.5))
def test_no_more_than_the_share_lies_above_the_threshold(values: list[float], share: float):
    ordinary_N = np.array(values)
    limit, told = threshold(ordinary_N, share)
    assert (ordinary_N > limit).mean() <= share
    assert told["low"] <= told["value"] <= told["high"] and told["n"] == len(values)
    if len(values) >= np.ceil(1 / share) - 1:
        assert told["value"] <= share + 1e-9


def test_the_promise_is_kept_on_new_inputs():
    generator = np.random.default_rng(0)
    rates, covered = [], 0
    for _ in range(400):
        limit, told = threshold(generator.normal(size=150), 0.05)
        rate = float((generator.normal(size=4000) > limit).mean())
        rates.append(rate)
        covered += told["low"] <= rate <= told["high"]
    assert np.mean(rates) == pytest.approx(told["value"], abs=0.003) and told["value"] <= 0.05
    assert covered / 400 > 0.92


def test_what_cannot_be_scored_is_said():
    with pytest.raises(UsageError, match="`share` must be above 0 and below 1"):
        threshold(np.zeros(3), 0.0)
    with pytest.raises(DataError, match="finite numbers"):
        threshold(np.array([np.nan]), 0.1)
    with pytest.raises(UsageError, match="is a score of classes"):
        scores("energy", "regression", np.zeros((1, 1)), None, {})
    with pytest.raises(DataError, match="needs features"):
        scores("neighbours", "single-label", np.zeros((1, 2)), None, {})
