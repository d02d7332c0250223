"""Reject scores and their operating curve against scikit-learn, SciPy and the formulas."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import mahalanobis as scipy_mahalanobis
from scipy.special import logsumexp, softmax
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score

from transfuse.core.errors import DataError
from transfuse.probing.rejecting import energy, improbability, mahalanobis, operating_curve, separation


def test_scores_of_logits() -> None:
    logits_NC = np.random.default_rng(0).normal(0, 300, (20, 4))
    np.testing.assert_allclose(improbability(logits_NC), 1 - softmax(logits_NC, axis=1).max(1), atol=1e-12)
    np.testing.assert_allclose(energy(logits_NC), -logsumexp(logits_NC, axis=1))


def test_distance_to_the_nearest_mean() -> None:
    random = np.random.default_rng(0)
    classes_M = np.repeat([0, 2], 30)
    known_MD = random.normal(0, 1, (60, 3)) @ np.diag([1, 2, 3]) + 5 * classes_M[:, None]
    x_ND = random.normal(0, 4, (10, 3))
    means = [known_MD[classes_M == label].mean(0) for label in (0, 2)]
    centred = np.concatenate([known_MD[classes_M == label] - mean for label, mean in zip((0, 2), means, strict=True)])
    inverse = np.linalg.inv(LedoitWolf(assume_centered=True).fit(centred).covariance_)
    expected = [min(scipy_mahalanobis(x, mean, inverse) for mean in means) ** 2 for x in x_ND]
    np.testing.assert_allclose(mahalanobis(x_ND, known_MD, classes_M), expected, rtol=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=30), st.lists(st.integers(0, 6), min_size=1, max_size=30))
def test_area_under_the_curve(inside: list[int], outside: list[int]) -> None:
    a, b = np.array(inside, float), np.array(outside, float)
    found = separation(a, b)
    truth = np.repeat([0, 1], [len(a), len(b)])
    assert found["value"] == pytest.approx(roc_auc_score(truth, np.concatenate([a, b])))
    assert found["n"] == len(a) + len(b) and 0 <= found["low"] <= found["high"] <= 1


def test_operating_curve_keeps_what_was_asked_for() -> None:
    inside, outside = np.arange(100.0), np.arange(50.0, 150.0)
    point = operating_curve(inside, outside, kept=(0.9,))[0]
    assert point["inside answered"] >= 0.9
    assert point["outside rejected"] == pytest.approx((outside > point["threshold"]).mean())


def test_nothing_from_outside() -> None:
    with pytest.raises(DataError, match="from outside"):
        separation(np.ones(3), np.ones(0))
