"""Abstention: the promise holds, the curve is right, ties and small samples are met."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from transfuse.core.errors import DataError, UsageError
from transfuse.probing.abstaining import answered, needed, risk_coverage, spoken, threshold


def draw(rng, n):
    """Confidences uniform in 0.5..1 and true; the accuracy above t is (1 + t) / 2."""
    confidence_N = rng.uniform(0.5, 1.0, n)
    return confidence_N, rng.random(n) < confidence_N


@pytest.mark.parametrize(("wanted", "least"), [(0.85, 0.7), (0.95, 0.2)])  # near certainty costs examples
def test_the_promise_is_broken_no_more_often_than_admitted(wanted, least):
    rng = np.random.default_rng(0)
    found = [threshold(*draw(rng, 1500), accuracy=wanted, certainty=0.9) for _ in range(300)]
    broken = [(1 + a.threshold) / 2 < wanted for a in found if a.answered]
    assert binomtest(sum(broken), 300, 0.1, alternative="greater").pvalue > 0.01
    optimal = 2 * (1 - (2 * wanted - 1))  # coverage where the true accuracy is exactly as wanted
    assert np.mean([a.coverage for a in found]) > least * optimal


def test_cutting_where_these_examples_look_good_would_break_it():
    """What the tests are for: the lowest threshold with enough accuracy on the sample promises too much too often."""
    rng = np.random.default_rng(1)
    broken = 0
    for _ in range(200):
        confidence_N, right_N = draw(rng, 300)
        curve = risk_coverage(confidence_N, right_N)
        broken += (1 + curve.threshold_K[curve.risk_K <= 0.1].min()) / 2 < 0.9
    assert broken > 80


def test_the_answers_are_those_above_the_threshold_and_the_interval_is_exact():
    rng = np.random.default_rng(2)
    confidence_N, right_N = draw(rng, 2000)
    found = threshold(confidence_N, right_N, accuracy=0.9)
    above = confidence_N >= found.threshold
    assert (found.answered, found.n) == (above.sum(), 2000)
    assert found.accuracy == right_N[above].mean() and found.coverage == above.mean()
    golden = binomtest(int(right_N[above].sum()), int(above.sum())).proportion_ci(0.95, method="exact")
    assert (found.low, found.high) == pytest.approx((golden.low, golden.high), rel=1e-9)
    assert found.low >= 0.9
    cover = binomtest(found.answered, 2000).proportion_ci(0.95, method="wilson")
    assert (found.coverage_low, found.coverage_high) == pytest.approx((cover.low, cover.high), rel=1e-9)


@settings(deadline=None, max_examples=60)
@given(n=st.integers(1, 300), levels=st.integers(1, 8), seed=st.integers(0, 9999), wanted=st.floats(0.5, 0.99))
def test_ties_order_and_units_do_not_matter(n, levels, seed, wanted):
    rng = np.random.default_rng(seed)
    confidence_N = rng.integers(0, levels, n) / levels
    right_N = rng.random(n) < 0.5 + confidence_N / 2
    found = threshold(confidence_N, right_N, accuracy=wanted)
    assert found.answered == (confidence_N >= found.threshold).sum()
    assert not found.answered or found.low >= wanted
    order = rng.permutation(n)
    assert threshold(confidence_N[order], right_N[order], accuracy=wanted).threshold == found.threshold
    scaled = threshold(3 * confidence_N - 7, right_N, accuracy=wanted)
    assert scaled.answered == found.answered


def test_a_perfect_record_promises_from_where_it_is_long_enough():
    for wanted in (0.9, 0.99):
        n = needed(wanted)
        assert wanted**n <= 0.025 < wanted ** (n - 1)
        enough = threshold(np.ones(n), np.ones(n, dtype=bool), accuracy=wanted)
        assert (enough.answered, enough.coverage, enough.threshold) == (n, 1.0, 1.0)
        few = threshold(np.ones(n - 1), np.ones(n - 1, dtype=bool), accuracy=wanted)
        assert few.answered == 0 and few.threshold == math.inf and math.isnan(few.accuracy)
        assert (few.low, few.high) == (0.0, 1.0)


def test_sentences():
    rng = np.random.default_rng(3)
    text = spoken(threshold(*draw(rng, 2000), accuracy=0.9))
    assert "at least 90 % will be, with 95 % certainty" in text and text.startswith("Answering where the confidence")
    assert "needs 368 held-out examples" in spoken(threshold(*draw(rng, 50), accuracy=0.99))
    assert "err too often" in spoken(threshold(np.ones(500), np.arange(500) % 2, accuracy=0.9))


def test_the_curve_equals_counting():
    confidence_N, right_N = np.array([0.9, 0.7, 0.7, 0.3, 0.1]), np.array([1, 1, 0, 1, 0])
    curve = risk_coverage(confidence_N, right_N)
    assert curve.threshold_K.tolist() == [0.9, 0.7, 0.3, 0.1]
    np.testing.assert_allclose(curve.coverage_K, [0.2, 0.6, 0.8, 1.0])
    np.testing.assert_allclose(curve.risk_K, [0, 1 / 3, 1 / 4, 2 / 5], atol=1e-12)
    # the two at 0.7 in either order: half a mistake among the first two
    assert curve.area == pytest.approx(np.mean([0, 0.25, 1 / 3, 1 / 4, 2 / 5]))
    assert curve.least_area == pytest.approx(np.mean([0, 0, 0, 1 / 4, 2 / 5]))
    assert (curve.low_K <= curve.risk_K + 1e-12).all() and (curve.risk_K <= curve.high_K + 1e-12).all()


@settings(deadline=None, max_examples=40)
@given(n=st.integers(1, 60), seed=st.integers(0, 9999))
def test_the_area_is_the_mean_over_orders_of_ties(n, seed):
    rng = np.random.default_rng(seed)
    confidence_N, right_N = rng.integers(0, 3, n) / 2, rng.random(n) < 0.7
    found = risk_coverage(confidence_N, right_N)
    areas = []
    for _ in range(400):
        order = np.lexsort([rng.random(n), -confidence_N])
        areas.append((np.cumsum(~right_N[order]) / np.arange(1, n + 1)).mean())
    assert found.area == pytest.approx(np.mean(areas), abs=4 * np.std(areas) / 20 + 1e-9)
    assert found.least_area <= min(areas) + 1e-9


def test_confidence_of_an_answer():
    confidence_N, right_N = answered(np.array([[0.2, 0.8], [0.6, 0.4]]), np.array([1, 1]), "single-label")
    assert confidence_N.tolist() == [0.8, 0.6] and right_N.tolist() == [True, False]
    confidence_N, right_N = answered(
        np.array([[0.9, 0.3], [0.6, 0.2]]), np.array([[1, 0], [1, 1]], dtype=float), "multi-label"
    )
    assert confidence_N.tolist() == [0.7, 0.6] and right_N.tolist() == [True, False]


@pytest.mark.parametrize(
    ("confidence", "right", "options"),
    [
        ([0.5], [1], {"accuracy": 1.0}),
        ([0.5], [1], {"accuracy": 0.9, "certainty": 0.0}),
        ([0.5, 0.6], [1], {"accuracy": 0.9}),
        ([], [], {"accuracy": 0.9}),
        ([0.5], [0.5], {"accuracy": 0.9}),
        ([[0.5]], [[1]], {"accuracy": 0.9}),
    ],
)
def test_arguments_of_another_form_are_refused(confidence, right, options):
    with pytest.raises(UsageError, match="must"):
        threshold(np.array(confidence), np.array(right), **options)


def test_bad_numbers_are_refused():
    with pytest.raises(DataError, match="1 are NaN"):
        threshold(np.array([0.5, np.nan]), np.array([1, 1]), accuracy=0.9)
    with pytest.raises(UsageError, match="regression"):
        answered(np.ones((2, 1)), np.ones((2, 1)), "regression")
