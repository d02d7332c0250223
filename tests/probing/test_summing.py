"""Where sums start and what they are rounded to, and rows less a shift."""

import numpy as np
import pytest

from transfuse.probing.summing import GRID, pilot_units, shifted, sum_blocks


def test_units_are_powers_of_two_near_the_sizes_of_features_targets_and_weights():
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(500, 3)) * [1e-3, 1.0, 1e6] + 7).astype(np.float32)
    shift, units = pilot_units(x, np.eye(2)[rng.integers(0, 2, 500)], np.full(500, 1e-4), None, None)
    np.testing.assert_allclose(shift, x.mean(0, dtype=float), rtol=1e-6)
    np.testing.assert_array_equal(shift, shift.astype(np.float32))
    for values, golden in ((units.features_D, [1e-3, 1.0, 1e6]), (units.targets_C, [1, 1]), (units.weight, 1e-2)):
        assert (np.frexp(values)[0] == 0.5).all()
        assert (np.abs(np.log2(np.array(values) / golden)) <= 1).all()


def test_rows_of_weight_0_and_rows_that_are_not_finite_do_not_decide():
    x = np.array([[1e9], [np.nan], [1.0], [3.0]])
    shift, units = pilot_units(x, np.zeros((4, 1)), np.array([0.0, 1.0, 1.0, 1.0]), None, None)
    assert shift == 2
    assert units.features_D == 1
    assert units.targets_C == 1  # only zeros: any unit will do


def test_sums_of_float32_products_are_multiples_of_the_grid():
    rng = np.random.default_rng(1)
    x, t, w = rng.normal(size=(300, 4)).astype(np.float32), rng.normal(size=(300, 2)), rng.uniform(0, 2, 300)
    shift, units = pilot_units(x, t, w, None, None)
    sums = sum_blocks(x, t, w, None, shift, units)
    steps = sums.gram_DD / np.outer(units.features_D, units.features_D) / units.weight**2 * GRID
    np.testing.assert_array_equal(steps, np.rint(steps))
    np.testing.assert_array_equal(sums.gram_DD, sums.gram_DD.T)


@pytest.mark.parametrize("rows", [slice(1, 4), np.array([3, 0, 3])])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32])
@pytest.mark.parametrize("shift", [2.0, 1 / 3])
def test_shifted_rows_are_rounded_once(rows, dtype, shift):
    x = (np.random.default_rng(2).normal(size=(5, 3)) * 100).astype(dtype)
    out = np.empty((3, 3), dtype=np.float32)
    golden = x[rows].astype(np.float64) - shift
    assert shifted(x, rows, np.full(3, shift), out) is out
    np.testing.assert_array_equal(out, golden.astype(np.float32))
