"""Cross-validation of any function, and of what a search tries."""

import numpy as np
import pytest
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import PredefinedSplit, cross_val_score

from transfuse.core.errors import UsageError
from transfuse.searching.cross_validating import cross_validate, over_folds, split
from transfuse.searching.search import search
from transfuse.searching.space import Choice
from transfuse.searching.strategies import Strategy


def test_scores_equal_scikit_learn():
    x, y = load_iris(return_X_y=True)
    fold_N = np.random.default_rng(0).permutation(len(y)) % 4
    model = LogisticRegression(max_iter=500)
    found = cross_validate(lambda train, held: model.fit(x[train], y[train]).score(x[held], y[held]), fold_N)
    golden = cross_val_score(model, x, y, cv=PredefinedSplit(fold_N))
    assert found.scores == pytest.approx(golden, abs=1e-12)
    assert found.value == pytest.approx(golden.mean(), abs=1e-12) and found.n == 150


def test_the_interval_is_nadeau_and_bengios():
    fold_N = np.repeat([0, 1, 2, 3, 4], 10)
    scores = iter([0.8, 0.9, 0.85, 0.7, 0.75])
    found = cross_validate(lambda train, held: next(scores), fold_N)
    # s^2 = 0.00625; factor 1/5 + 10/40; t(0.975, 4) = 2.776445
    half = 2.776445105 * np.sqrt(0.00625 * 0.45)
    assert (found.value, found.low, found.high) == pytest.approx((0.8, 0.8 - half, 0.8 + half), rel=1e-9)


def test_the_interval_covers_where_the_plain_one_does_not():
    """The mean of 200 draws' scores is known well; its interval must hold it in most draws."""
    rng = np.random.default_rng(1)
    centre, results = np.array([0.6, 0.0]), []
    for _ in range(200):
        y = np.arange(60) % 2
        x = rng.normal(size=(60, 2)) + np.where(y[:, None] == 1, centre, -centre)

        def score(train, held, x=x, y=y):
            weight = x[train][y[train] == 1].mean(0) - x[train][y[train] == 0].mean(0)
            return float(((x[held] @ weight > 0) == y[held]).mean())

        results.append(cross_validate(score, np.arange(60) // 2 % 5))
    truth = np.mean([r.value for r in results])
    covered = np.mean([r.low <= truth <= r.high for r in results])
    plain = np.mean([abs(r.value - truth) <= 2.776 * np.std(r.scores, ddof=1) / np.sqrt(5) for r in results])
    assert covered >= 0.95 and plain < covered


def test_rows_are_a_partition():
    fold_N = np.array([2, 0, 1, 0, 2])
    parts = split(fold_N)
    assert [held.tolist() for _, held in parts] == [[1, 3], [2], [0, 4]]
    assert all(sorted([*train, *held]) == [0, 1, 2, 3, 4] for train, held in parts)


@pytest.mark.parametrize("fold", [[0, 0, 0], [0, 2, 2], [-1, 0, 1], [0.0, 1.0], [[0, 1]], []])
def test_folds_of_another_form_are_refused(fold: list):
    with pytest.raises(UsageError, match="`fold` must"):
        cross_validate(lambda train, held: 0.0, np.array(fold))


def test_a_search_over_folds_gives_up_after_a_bad_fold():
    calls = []

    def score(options, effort, train, held):
        calls.append((options["a"], len(held)))
        assert effort == 2
        return float(options["a"])

    space = {"a": Choice(values=(5, 4, 3, 2, 1))}
    strategy = Strategy(trials=5, effort=11, first_effort=2, pruner="halving", sampler="random")
    first = [{"a": value} for value in space["a"].values]
    found = search(over_folds(score, np.arange(20) % 5), space, strategy, first=first)
    assert found.best.options == {"a": 5} and found.best.score == 5
    assert sorted(found.best.reports) == [2, 4, 6, 8, 11]
    assert [a.outcome for a in found.attempts] == ["finished", *["pruned"] * 4]
    assert len(calls) == 5 + 4


def test_an_effort_too_small_for_the_folds_is_refused():
    scored = over_folds(lambda options, effort, train, held: 1.0, np.arange(9) % 3)
    with pytest.raises(UsageError, match="at least the number of folds"):
        search(scored, {"a": Choice(values=(1, 2))}, Strategy(trials=1, effort=2))
