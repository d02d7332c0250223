"""One strength a block: against scikit-learn's heads, fold by fold, and against a search without gradients."""

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import Ridge

from transfuse.core.errors import DataError, UsageError
from transfuse.probing.block_statistics import fold_moments, variance_D, whole
from transfuse.probing.block_strengths import fit_blocks, tune_strengths
from transfuse.probing.moments import accumulate, moments

WIDTHS = {"sharp": 8, "blurred": 16, "noise": 12}


def problem(n=300, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, n)
    latent = rng.normal(size=(4, 6))[y] + rng.normal(size=(n, 6))
    blocks = {
        "sharp": latent[:, :3] @ rng.normal(size=(3, 8)) + 0.2 * rng.normal(size=(n, 8)) + 3,
        "blurred": 10 * (latent @ rng.normal(size=(6, 16)) + 2.0 * rng.normal(size=(n, 16))),
        "noise": rng.normal(size=(n, 12)),
    }
    return blocks, np.eye(4)[y], np.arange(n) % 5


def exact_folds(blocks, t, fold, w=None):
    x = np.concatenate(list(blocks.values()), 1)
    shift = x.mean(0)
    return [
        moments(x[fold == k], t[fold == k], None if w is None else w[fold == k], shift_D=shift, exact=True)
        for k in range(fold.max() + 1)
    ]


def held_out_error(blocks, t, fold, strengths, w=None):
    """With scikit-learn's ridge on features divided by their deviation and the root of their block's strength."""
    w = np.ones(len(t)) if w is None else w
    x = np.concatenate(list(blocks.values()), 1)
    deviation = np.sqrt(np.cov(x.T, aweights=w, ddof=0).diagonal())
    x = x / deviation / np.sqrt(np.repeat([strengths[name] for name in blocks], [b.shape[1] for b in blocks.values()]))
    error = base = 0.0
    for k in range(fold.max() + 1):
        inside, outside = fold != k, fold == k
        ridge = Ridge(alpha=w[inside].sum(), tol=1e-12).fit(x[inside], t[inside], sample_weight=w[inside])
        level = np.average(t[inside], axis=0, weights=w[inside])
        error += (w[outside] * ((ridge.predict(x[outside]) - t[outside]) ** 2).sum(1)).sum()
        base += (w[outside] * ((level - t[outside]) ** 2).sum(1)).sum()
    return error / base


@pytest.mark.parametrize("weighted", [False, True])
def test_error_is_that_of_heads_fitted_fold_by_fold(weighted):
    blocks, t, fold = problem()
    w = np.random.default_rng(1).uniform(0.2, 3, 300) if weighted else None
    found = tune_strengths(exact_folds(blocks, t, fold, w), WIDTHS)
    assert found.error == pytest.approx(held_out_error(blocks, t, fold, found.strengths, w), rel=1e-9)
    assert len(found.fold_errors) == 5


@pytest.mark.parametrize("start", [None, {"sharp": 5.0, "blurred": 0.001, "noise": 0.001}])
def test_strengths_are_the_minimum(start):
    blocks, t, fold = problem()
    found = tune_strengths(exact_folds(blocks, t, fold), WIDTHS, start=start)

    def error(logs):
        return held_out_error(blocks, t, fold, dict(zip(WIDTHS, np.exp(np.clip(logs, -14, 9.2)), strict=True)))

    reference = minimize(error, np.zeros(3), method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-9})
    assert found.error == pytest.approx(reference.fun, rel=2e-4)
    assert found.strengths["noise"] > 10 * found.strengths["sharp"]


def test_one_strength_for_all_is_no_better():
    blocks, t, fold = problem()
    folds = exact_folds(blocks, t, fold)
    assert tune_strengths(folds, WIDTHS).error < tune_strengths(folds, {"all": 36}).error


def test_float32_statistics_give_the_same():
    blocks, t, fold = problem()
    one = tune_strengths(fold_moments(blocks, t, fold), WIDTHS)
    two = tune_strengths(exact_folds(blocks, t, fold), WIDTHS)
    assert one.error == pytest.approx(two.error, rel=1e-4)


def test_fewer_examples_than_features():
    blocks, t, fold = problem(n=30)
    found = tune_strengths(exact_folds(blocks, t, fold), WIDTHS)
    assert found.error == pytest.approx(held_out_error(blocks, t, fold, found.strengths), rel=1e-6)


@pytest.mark.parametrize("n", [300, 30])
def test_head_equals_scikit_learn(n):
    blocks, t, _ = problem(n)
    x = np.concatenate(list(blocks.values()), 1)
    strengths = {"sharp": 0.02, "blurred": 0.5, "noise": 7.0}
    weight, bias = fit_blocks(moments(x, t, exact=True), WIDTHS, strengths)
    scale = x.std(0) * np.sqrt(np.repeat(list(strengths.values()), list(WIDTHS.values())))
    golden = Ridge(alpha=n, tol=1e-12).fit(x / scale, t)
    np.testing.assert_allclose(weight * scale, golden.coef_, atol=1e-8)
    np.testing.assert_allclose(bias, golden.intercept_, atol=1e-8)


def test_scale_may_be_that_of_more_rows():
    blocks, t, fold = problem()
    folds = exact_folds(blocks, t, fold)
    strengths = dict.fromkeys(WIDTHS, 0.3)
    own, _ = fit_blocks(folds[0], WIDTHS, strengths)
    other, _ = fit_blocks(folds[0], WIDTHS, strengths, variance_D(whole(folds)))
    assert np.abs(own - other).max() > 1e-4


def test_bad_input():
    blocks, t, fold = problem()
    folds = exact_folds(blocks, t, fold)
    with pytest.raises(UsageError, match="2 folds or more"):
        tune_strengths(folds[:1], WIDTHS)
    with pytest.raises(UsageError, match="`start` must name"):
        tune_strengths(folds, WIDTHS, start={"sharp": 1.0})
    with pytest.raises(UsageError, match="add up to the 36"):
        tune_strengths(folds, {"sharp": 8})
    with pytest.raises(DataError, match="varies"):
        tune_strengths(exact_folds(blocks, np.ones((300, 1)), fold), WIDTHS)
    x = np.concatenate(list(blocks.values()), 1)
    whole_weight = [accumulate([(x[:9], t[:9], np.ones(9))]), moments(x[9:], t[9:], np.zeros(291))]
    with pytest.raises(DataError, match="holds all the weight"):
        tune_strengths(whole_weight, WIDTHS)
