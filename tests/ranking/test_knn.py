"""Neighbours: equal to scikit-learn fold by fold, no leaks, every kind of target."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.preprocessing import StandardScaler, normalize

from transfuse.core.errors import UnknownName, UsageError
from transfuse.ranking.knn import knn

X, Y = (part[:400] for part in load_digits(return_X_y=True))
FOLD = np.random.default_rng(0).permutation(400) % 5
ONE_HOT = np.eye(10)[Y]


def softly(distances, temperature=0.07):
    near = 1 - distances**2 / 2  # cosine of rows of length 1
    return np.exp((near - near.max(1, keepdims=True)) / temperature)


@pytest.mark.parametrize("k", [1, 10])
def test_votes_are_those_of_scikit_learn_on_standardised_directions(k):
    z = normalize(StandardScaler().fit_transform(X))
    golden = np.zeros((400, 10))
    for fold in range(5):
        held = fold == FOLD
        model = KNeighborsClassifier(k, weights=softly, algorithm="brute").fit(z[~held], Y[~held])
        golden[held] = model.predict_proba(z[held])
    np.testing.assert_allclose(knn(X, ONE_HOT, FOLD, k=k), golden, atol=2e-5)


def test_values_are_means_and_euclidean_distances_are_taken_when_wanted():
    values = X[:, :2] + 0.0
    held = FOLD == 3
    golden = KNeighborsRegressor(4).fit(X[~held], values[~held]).predict(X[held])
    rows = np.flatnonzero(held)
    found = knn(X, values, FOLD, rows=rows, k=4, metric="euclidean", temperature=1e12)
    np.testing.assert_allclose(found, golden, atol=1e-4)


def test_a_copy_in_the_same_fold_does_not_vouch():
    x = np.random.default_rng(0).normal(size=(100, 6))
    y = np.random.default_rng(1).permutation(np.arange(100) % 2)
    doubled, labels = np.concatenate([x, x]), np.concatenate([y, y])
    apart = knn(doubled, np.eye(2)[labels], np.arange(200), k=1)
    together = knn(doubled, np.eye(2)[labels], np.tile(np.arange(100), 2), k=1)
    assert (apart.argmax(1) == labels).mean() == 1.0
    assert (together.argmax(1) == labels).mean() < 0.7


def test_rows_and_their_order_are_what_was_asked_for():
    rows = np.array([7, 3, 399, 3])
    np.testing.assert_allclose(knn(X, ONE_HOT, FOLD, rows=rows), knn(X, ONE_HOT, FOLD)[rows], atol=1e-6)


def test_many_queries_are_answered_in_parts_alike():
    x = np.random.default_rng(0).normal(size=(2600, 4))
    fold = np.arange(2600) % 2
    one = knn(x, x, fold, rows=np.array([2500]))
    np.testing.assert_allclose(knn(x, x, fold)[2500], one[0], atol=1e-5)


def test_nobody_to_ask_is_no_answer_and_few_neighbours_are_enough():
    assert np.isnan(knn(X[:5], ONE_HOT[:5], np.zeros(5))).all()
    assert np.isfinite(knn(X[:5], ONE_HOT[:5], np.arange(5), k=50)).all()


@pytest.mark.parametrize("x", [np.ones((40, 3)), np.full((40, 3), 0.1), np.zeros((40, 3))], ids=["1", "0.1", "0"])
def test_features_that_do_not_vary_give_an_answer_without_a_warning(x):
    answers = knn(x, np.eye(2)[np.arange(40) % 2], np.arange(40) % 4)
    assert np.isfinite(answers).all() and answers.sum(1) == pytest.approx(1.0)


def test_wide_features_of_any_scale_are_compared():
    x = np.random.default_rng(0).normal(size=(60, 5))
    scale = np.array([1e-6, 1, 1e6, 1e3, 1])
    fold = np.arange(60) % 3
    np.testing.assert_allclose(knn(x * scale, x, fold), knn(x, x, fold), atol=1e-4)


def test_what_is_refused():
    with pytest.raises(UsageError, match="`k`"):
        knn(X, ONE_HOT, FOLD, k=0)
    with pytest.raises(UsageError, match="one row an example"):
        knn(X, ONE_HOT[:9], FOLD)
    with pytest.raises(UnknownName, match="cosine"):
        knn(X, ONE_HOT, FOLD, metric="cosinus")
