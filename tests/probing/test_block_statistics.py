"""Statistics of blocks side by side."""

import numpy as np
import pytest

from transfuse.core.errors import DataError, UsageError
from transfuse.probing.block_statistics import (
    columns_of,
    fold_moments,
    least_strength,
    scatter,
    solved,
    variance_D,
    whole,
)
from transfuse.probing.moments import Moments, moments


def test_folds_over_joined_blocks_add_up_to_the_statistics_of_the_whole():
    rng = np.random.default_rng(0)
    blocks = {"a": rng.normal(size=(20_000, 3)) + 5, "b": rng.normal(size=(20_000, 2)).astype(np.float32)}
    t, w, fold = rng.normal(size=(20_000, 2)), rng.uniform(0.5, 2, 20_000), np.arange(20_000) % 3
    folds = fold_moments(blocks, t, fold, w)
    x = np.concatenate(list(blocks.values()), 1)
    total = whole(folds)
    assert [f.rows for f in folds] == np.bincount(fold).tolist()
    np.testing.assert_allclose(total.gram_DD, moments(x, t, w, shift_D=total.shift_D, exact=True).gram_DD, atol=0.05)
    np.testing.assert_allclose(variance_D(total), np.cov(x.T, aweights=w, ddof=0).diagonal(), rtol=1e-5)
    centred = x[fold == 1] - np.average(x[fold == 1], axis=0, weights=w[fold == 1])
    np.testing.assert_allclose(
        scatter(folds[1], np.dtype(np.float64)), centred.T @ (w[fold == 1, None] * centred), rtol=1e-5, atol=0.05
    )


def test_variance_of_a_constant_is_1():
    x = np.stack([np.full(9, 7.1), np.arange(9.0)], 1)
    np.testing.assert_allclose(variance_D(moments(x, x)), [1.0, np.arange(9.0).var()])
    np.testing.assert_allclose(variance_D(moments(x, x, exact=True)), [1.0, np.arange(9.0).var()])


def test_a_singular_float32_matrix_is_solved_in_float64():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 4))
    gram = np.concatenate([x, x], 1).T @ np.concatenate([x, x], 1)
    factor, solution = solved(gram.astype(np.float32), gram[:, :1], np.full(8, 1e-7))
    assert factor.dtype == np.float64
    np.testing.assert_allclose(solution[:4] + solution[4:], [[1], [0], [0], [0]], atol=1e-4)


def test_a_matrix_that_is_no_statistic_is_refused():
    with pytest.raises(DataError, match="real rows"):
        solved(-np.eye(3), np.ones((3, 1)), np.ones(3) * 0.1)


def test_precision_of_the_statistics_bounds_the_strengths():
    x = np.random.default_rng(0).normal(size=(9, 2))
    assert least_strength(moments(x, x)) > least_strength(moments(x, x, exact=True)) > 0
    assert isinstance(moments(x, x), Moments)


def test_bad_input():
    x = np.zeros((4, 2))
    with pytest.raises(UsageError, match="add up to the 3 features"):
        columns_of({"a": 2}, 3)
    with pytest.raises(UsageError, match="2 folds or more"):
        whole([moments(x, x)])
    with pytest.raises(UsageError, match=r"'b' are \(3, 2\)"):
        fold_moments({"a": x, "b": x[:3]}, x, np.arange(4) % 2)
