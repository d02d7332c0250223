"""The basis: a standardisation and a rotation, the same from either Gram matrix."""

import numpy as np
import pytest
from sklearn.preprocessing import StandardScaler

from transfuse.probing.basis import deviations_D, make_basis, project, row_deviations_D, unfold
from transfuse.probing.moments import moments


@pytest.mark.parametrize("shape", [(60, 8), (8, 60), (20, 20)])
def test_coordinates_are_centred_decorrelated_and_keep_all_distances(shape):
    rng = np.random.default_rng(0)
    x = rng.normal(size=shape) * 10 + 100
    basis = make_basis(x, np.ones(len(x)))
    z = project(basis, x)
    standard = StandardScaler().fit_transform(x)
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-9)
    np.testing.assert_allclose(z.T @ z / len(z), np.diag(basis.values_R), atol=1e-8)
    np.testing.assert_allclose(z @ z.T, standard @ standard.T, atol=1e-7)
    assert z.shape[1] <= min(shape)


def test_weights_count_like_repeated_rows():
    rng = np.random.default_rng(1)
    x, times = rng.normal(size=(30, 5)), rng.integers(0, 4, 30)
    one, other = make_basis(x, times.astype(float)), make_basis(np.repeat(x, times, 0), np.ones(times.sum()))
    np.testing.assert_allclose(one.mean_D, other.mean_D, atol=1e-12)
    np.testing.assert_allclose(one.scale_D, other.scale_D, atol=1e-12)
    np.testing.assert_allclose(one.values_R, other.values_R, atol=1e-10)


def test_constant_columns_are_left_out_whatever_their_size():
    x = np.random.default_rng(2).normal(size=(20, 3))
    x[:, 1] = 1e8 / 3
    basis = make_basis(x, np.ones(20))
    assert basis.scale_D[1] == 1.0
    assert basis.values_R.sum() == pytest.approx(2.0)
    np.testing.assert_allclose(basis.vectors_DR[1], 0, atol=1e-12)


def test_only_constant_columns_leave_no_direction():
    basis = make_basis(np.ones((5, 3)), np.ones(5))
    assert basis.values_R.shape == (0,)
    assert project(basis, np.ones((2, 3))).shape == (2, 0)


def test_unfold_gives_the_same_function_of_raw_features():
    rng = np.random.default_rng(3)
    x = rng.normal(size=(40, 6)) * rng.uniform(0.1, 10, 6) + 5
    basis = make_basis(x, np.ones(40))
    slope, intercept = rng.normal(size=(6, 2)), rng.normal(size=2)
    weight, bias = unfold(basis, slope, intercept)
    np.testing.assert_allclose(x @ weight.T + bias, project(basis, x) @ slope + intercept, atol=1e-10)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_deviations_from_statistics_and_from_rows_are_numpys(dtype, exact):
    rng = np.random.default_rng(4)
    x = (rng.normal(size=(3000, 5)) * np.logspace(-3, 3, 5) + 50).astype(dtype)
    x[:, 2] = 1e7 / 3
    w = rng.uniform(0, 2, 3000)
    away = x.astype(float) - np.average(x.astype(float), axis=0, weights=w)
    golden = np.sqrt(np.average(away**2, axis=0, weights=w))
    golden[2] = 0
    np.testing.assert_allclose(row_deviations_D(x, w), golden, rtol=1e-9)
    np.testing.assert_allclose(deviations_D(moments(x, w, w, exact=exact)), golden, rtol=1e-6)
