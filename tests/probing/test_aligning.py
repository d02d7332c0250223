"""A source's features weighted or moved to the target's."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import OAS

from transfuse.core.errors import DataError
from transfuse.probing.aligning import MOST, coral, coral_of, density_ratio, oas
from transfuse.probing.moments import added, moments


def sample(rows: int, size: int, seed: int, shift: float = 0.0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.normal(size=(rows, size)) @ generator.normal(size=(size, size)) + shift


@given(st.integers(3, 60), st.integers(2, 8), st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_shrinkage_is_scikit_learns(rows: int, size: int, seed: int) -> None:
    x = sample(rows, size, seed)
    theirs = OAS().fit(x)
    found, shrinkage = oas(np.cov(x.T, bias=True), rows)
    assert shrinkage == pytest.approx(theirs.shrinkage_, abs=1e-9)
    np.testing.assert_allclose(found, theirs.covariance_, rtol=1e-9, atol=1e-12)


def test_coral_gives_the_targets_mean_and_covariance() -> None:
    source, target = sample(20_000, 3, 0, 5.0), sample(15_000, 3, 1, -2.0)
    moved = coral_of(source, target)
    np.testing.assert_allclose(moved.mean(0), target.mean(0), atol=1e-9)
    np.testing.assert_allclose(np.cov(moved.T), np.cov(target.T), rtol=0.02, atol=0.02)


def test_the_units_of_features_do_not_matter() -> None:
    source, target = sample(50, 4, 0), sample(40, 4, 1)
    units = np.array([1.0, 100.0, 0.01, 3.0])
    np.testing.assert_allclose(coral_of(source * units, target * units), coral_of(source, target) * units, rtol=1e-8)


def test_sums_of_shards_are_enough() -> None:
    source, target = sample(60, 3, 0), sample(50, 3, 1)
    none = np.zeros((60, 1))
    parts = added(*(moments(source[rows], none[rows], exact=True) for rows in (slice(25), slice(25, 60))))
    found = coral(parts, moments(target, none[:50], exact=True))(source)
    np.testing.assert_allclose(found, coral_of(source, target), rtol=1e-9, atol=1e-9)


def test_features_that_never_vary_stay_finite() -> None:
    source, target = sample(30, 3, 0), sample(30, 3, 1)
    source[:, 1] = target[:, 1] = 4.0
    moved = coral_of(source, target)
    assert np.isfinite(moved).all()
    np.testing.assert_allclose(moved[:, 1].mean(), 4.0)
    with pytest.raises(DataError, match="CORAL needs 2 rows"):
        coral_of(source[:1], target)


def test_rows_like_the_targets_weigh_more() -> None:
    generator = np.random.default_rng(0)
    source, target = generator.normal(0, 1, (800, 2)), generator.normal([1.0, 0.0], 1, (400, 2))
    found = density_ratio(source, target)
    assert found.weights_N.mean() == pytest.approx(1) and found.weights_N.max() <= MOST * 1.5
    true_N = np.exp(source[:, 0] - 0.5)  # of two normals of deviation 1, a mean of 1 apart
    assert np.corrcoef(np.log(found.weights_N), np.log(true_N))[0, 1] > 0.95
    assert 100 < found.effective < 700


def test_equal_populations_and_too_few_rows_weigh_the_same() -> None:
    generator = np.random.default_rng(0)
    found = density_ratio(generator.normal(size=(500, 3)), generator.normal(size=(500, 3)))
    assert found.weights_N.std() < 0.3 and found.effective > 450
    assert (density_ratio(np.ones((5, 2)), np.ones((50, 2))).weights_N == 1).all()
