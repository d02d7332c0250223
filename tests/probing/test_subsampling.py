"""Heads on subsets: equal to refitting on the rows themselves."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from transfuse.core.randomness import key
from transfuse.probing.problem import Problem, make_problem
from transfuse.probing.subsampling import STRENGTHS, _ranks, held_out_losses


def problem_of(x, y, kind, seed=0, weights=None, folds=3) -> Problem:
    return make_problem(
        x, y, kind, classes=None, weights_N=weights, class_weights=None, folds=folds, seed=seed, groups=None
    )


def made(kind, seed=0, n=120, d=9):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) * rng.uniform(0.1, 9, d) + rng.normal(size=d) * 20
    scores = (x - x.mean(0)) / x.std(0) @ rng.normal(size=(d, 4)) + rng.normal(size=(n, 4)) * 2
    if kind == "single-label":
        return x, scores.argmax(1)
    return x, (scores > 0.5).astype(float) if kind == "multi-label" else scores[:, :2]


def refitted(problem: Problem, subset_N: np.ndarray) -> np.ndarray:
    """The losses by scikit-learn's ridge on the rows, with the rule for the strength as it stands in the docstring."""
    w, t = problem.weights_N, problem.targets_NC
    mean = np.average(problem.x_ND, axis=0, weights=w)
    z = (problem.x_ND - mean) / np.sqrt(np.average((problem.x_ND - mean) ** 2, axis=0, weights=w))
    best, least = None, np.inf
    for strength in STRENGTHS:
        held, away = np.zeros_like(t), np.zeros_like(t)
        for fold in range(problem.folds):
            train, test = subset_N & (problem.fold_N != fold), problem.fold_N == fold
            model = Ridge(alpha=strength * w[train].sum()).fit(z[train], t[train], sample_weight=w[train])
            held[test] = model.predict(z[test])
            away[test] = np.average(t[train], axis=0, weights=w[train])
        centred, wanted = held - away, t - away
        factor = (w @ (centred * wanted)).sum() / (w @ centred**2).sum() if problem.kind != "regression" else 1.0
        error = (w @ (factor * centred - wanted) ** 2).sum()
        best, least = (held, error) if error < least else (best, least)
    if problem.kind == "single-label":
        return (best.argmax(1) != problem.y).astype(float)
    if problem.kind == "multi-label":
        return ((best > 0.5) != (t > 0.5)).mean(1)
    return ((best - t) ** 2).mean(1)


@pytest.mark.parametrize("kind", ["single-label", "multi-label", "regression"])
@pytest.mark.parametrize("weighted", [False, True])
def test_losses_equal_refitting_on_the_rows(kind, weighted):
    x, y = made(kind)
    problem = problem_of(x, y, kind, weights=np.random.default_rng(1).uniform(0, 3, len(x)) if weighted else None)
    shares = np.array([0.25, 0.5, 1.0])
    losses = held_out_losses(problem, shares, 2, 5)
    for draw in range(2):
        ranks = _ranks(problem, key(5, "learning curve", draw))
        for share, found in zip(shares, losses[draw], strict=True):
            np.testing.assert_allclose(found, refitted(problem, ranks <= share), atol=2e-4)
    np.testing.assert_allclose(losses[0, 2], losses[1, 2], atol=1e-6)
    assert (losses[0, 0] != losses[1, 0]).any()


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 9999), n=st.integers(12, 200), classes=st.integers(2, 5))
def test_subsets_are_nested_and_even(seed, n, classes):
    rng = np.random.default_rng(seed)
    y = np.concatenate([np.arange(classes), rng.integers(0, classes, n)])
    problem = problem_of(rng.normal(size=(len(y), 3)), y, "single-label", seed=seed)
    ranks = _ranks(problem, seed)
    assert ranks.min() >= 0 and ranks.max() <= 1
    for share in (0.125, 0.25, 0.5):
        for fold in range(problem.folds):
            for label in range(classes):
                stratum = (problem.fold_N == fold) & (y == label)
                assert abs((ranks[stratum] <= share).sum() - share * stratum.sum()) <= 1


def test_a_rare_class_is_in_a_subset_as_often_as_its_share_says():
    y = np.array([0] * 30 + [1] * 3)
    problem = problem_of(np.random.default_rng(0).normal(size=(33, 2)), y, "single-label")
    counts = [(_ranks(problem, seed)[y == 1] <= 0.25).sum() for seed in range(400)]
    assert np.mean(counts) == pytest.approx(0.75, abs=0.15)


def test_constant_copied_and_huge_features_do_no_harm():
    x, y = made("single-label")
    problem = problem_of(x, y, "single-label")
    shares = np.array([0.5, 1.0])
    plain = held_out_losses(problem, shares, 1, 0)
    odd = np.concatenate([x, np.full((len(x), 2), 1e4)], axis=1)
    same_folds = Problem(**{**vars(problem), "x_ND": odd})
    np.testing.assert_array_equal(held_out_losses(same_folds, shares, 1, 0), plain)
    far = Problem(**{**vars(problem), "x_ND": x * 1e6 + 1e9})
    assert (held_out_losses(far, shares, 1, 0) != plain).mean() < 0.02
    copied = Problem(**{**vars(problem), "x_ND": np.concatenate([x, x], axis=1)})
    assert np.isfinite(held_out_losses(copied, shares, 1, 0)).all()


def test_more_features_than_examples():
    rng = np.random.default_rng(3)
    y = np.arange(40) % 2
    x = rng.normal(size=(40, 300)) + 0.4 * y[:, None]
    losses = held_out_losses(problem_of(x, y, "single-label"), np.array([0.5, 1.0]), 2, 0)
    assert losses[0, 1].mean() < 0.2
