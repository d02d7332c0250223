"""The group of sufficient statistics: adding, subtracting, indexing, its exactness, and what it refuses."""

from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transfuse.core.errors import DataError, UsageError
from transfuse.probing.moments import (
    Moments,
    accumulate,
    added,
    class_means_CD,
    covariance_DD,
    cross_covariance_DC,
    indexed,
    mean_D,
    moments,
    order_free,
    pilot,
    reshifted,
    subtracted,
    target_mean_C,
)

SUMS = ("rows", "weight", "sum_D", "gram_DD", "target_sum_C", "target_squares_C", "cross_DC")


def drawn(n=300, d=6, c=3, seed=0, dtype=np.float32):
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + rng.normal(size=d) * 20).astype(dtype)
    return x, np.eye(c)[rng.integers(0, c, n)], rng.uniform(0, 2, n)


def direct(x, t, w, shift):
    z = x.astype(np.float64) - shift
    wz = z * w[:, None]
    return {
        "weight": w.sum(),
        "sum_D": wz.sum(0),
        "gram_DD": wz.T @ z,
        "target_sum_C": w @ t,
        "target_squares_C": w @ t**2,
        "cross_DC": wz.T @ t,
    }


def assert_same_bits(one: Moments, other: Moments):
    for name in SUMS:
        assert np.array_equal(getattr(one, name), getattr(other, name)), name


class TestSums:
    @pytest.mark.parametrize("weighted", [False, True])
    @pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int16])
    def test_exact_sums_equal_numpy_in_float64(self, dtype, weighted):
        x, t, w = drawn(dtype=dtype)
        w = w if weighted else np.ones(len(x))
        found = moments(x, t, w if weighted else None, exact=True)
        for name, golden in direct(x, t, w, found.shift_D).items():
            np.testing.assert_allclose(getattr(found, name), golden, rtol=1e-12, atol=1e-10, err_msg=name)
        assert found.rows == len(x)

    @pytest.mark.parametrize("away", [0.0, 20.0, 1e4])
    def test_float32_sums_have_7_digits_even_far_from_0(self, away):
        rng = np.random.default_rng(1)
        x = (rng.normal(size=(20_000, 8)) + away).astype(np.float32)
        t, w = np.eye(4)[rng.integers(0, 4, 20_000)], rng.uniform(0, 2, 20_000)
        found = moments(x, t, w)
        golden = direct(x, t, w, found.shift_D)
        size = np.sqrt(np.diag(golden["gram_DD"]))
        assert (np.abs(found.gram_DD - golden["gram_DD"]) <= 3e-7 * np.outer(size, size)).all()
        assert np.abs(found.cross_DC - golden["cross_DC"]).max() <= 3e-7 * size.max() * np.sqrt(w.sum())

    def test_large_means_cost_no_digits_of_the_covariance(self):
        x = np.random.default_rng(2).normal(size=(5000, 3)) + 1e9
        np.testing.assert_allclose(covariance_DD(moments(x, np.zeros((5000, 0)))), np.cov(x.T, ddof=0), atol=1e-6)

    @pytest.mark.parametrize("scale", [1e-20, 1e-6, 1e6, 1e18])
    def test_the_size_of_features_targets_and_weights_does_not_matter(self, scale):
        x, t, w = drawn(dtype=np.float64)
        one, other = moments(x, t, w), moments(x * scale, t / scale, w * scale)
        np.testing.assert_allclose(covariance_DD(other) / scale**2, covariance_DD(one), rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose(cross_covariance_DC(other), cross_covariance_DC(one), rtol=1e-5, atol=1e-5)
        assert order_free(other)

    def test_features_of_very_different_sizes(self):
        x, t, _ = drawn(dtype=np.float64)
        scale = np.logspace(-12, 12, 6)
        one, other = moments(x, t), moments(x * scale, t)
        unit = np.outer(scale, scale)
        np.testing.assert_allclose(covariance_DD(other) / unit, covariance_DD(one), rtol=1e-5, atol=1e-4)

    def test_an_outlier_among_the_first_rows_leaves_other_shards_their_digits(self):
        x, t, _ = drawn(n=4000)
        x[0] *= 1e3
        rest = moments(x, t, rows=np.arange(1, 4000), like=pilot(x, t))
        golden = np.cov(x[1:].T.astype(np.float64), ddof=0)
        np.testing.assert_allclose(covariance_DD(rest), golden, atol=1e-4 * np.abs(golden).max())

    def test_rows_select(self):
        x, t, w = drawn()
        rows = np.array([5, 17, 200, 299])
        one, other = moments(x, t, w, rows=rows, exact=True), moments(x[rows], t[rows], w[rows], exact=True)
        np.testing.assert_allclose(one.gram_DD, other.gram_DD, rtol=1e-12)
        assert one.rows == 4

    def test_what_is_read_off(self):
        x, t, w = drawn(dtype=np.float64)
        m = moments(x, t, w, exact=True)
        np.testing.assert_allclose(mean_D(m), np.average(x, axis=0, weights=w))
        np.testing.assert_allclose(covariance_DD(m), np.cov(x.T, aweights=w, ddof=0))
        np.testing.assert_allclose(target_mean_C(m), np.average(t, axis=0, weights=w))
        z = x - np.average(x, axis=0, weights=w)
        np.testing.assert_allclose(cross_covariance_DC(m), (z * w[:, None]).T @ t / w.sum(), atol=1e-12)
        for c in range(3):
            np.testing.assert_allclose(class_means_CD(m)[c], np.average(x, axis=0, weights=w * t[:, c]))

    def test_memory_mapped_features(self, tmp_path):
        x, t, w = drawn()
        np.save(tmp_path / "x.npy", x)
        assert_same_bits(moments(np.load(tmp_path / "x.npy", mmap_mode="r"), t, w), moments(x, t, w))


class TestOrder:
    @settings(deadline=None, max_examples=60)
    @given(
        seed=st.integers(0, 10**6),
        cuts=st.lists(st.integers(1, 399), max_size=8),
        log_scale=st.lists(st.floats(-8, 8), min_size=4, max_size=4),
        away=st.floats(-1e4, 1e4),
        weighted=st.booleans(),
    )
    def test_shards_in_any_order_give_the_same_bits(self, seed, cuts, log_scale, away, weighted):
        rng = np.random.default_rng(seed)
        x = (rng.standard_t(2, size=(400, 4)) * 10 ** np.array(log_scale) + away).astype(np.float32)
        t, w = rng.normal(size=(400, 2)), rng.exponential(size=400) if weighted else None
        like = pilot(x, t, w)
        parts = np.split(np.arange(400), sorted(cuts))
        shards = [moments(x, t, w, rows=rows, like=like) for rows in parts]
        one = reduce(added, shards)
        other = reduce(added, [shards[i] for i in rng.permutation(len(shards))])
        assert order_free(one)
        assert_same_bits(one, other)
        tree = [added(a, b) for a, b in zip(shards[::2], shards[1::2], strict=False)] + shards[len(shards) // 2 * 2 :]
        assert_same_bits(one, reduce(added, tree))

    @settings(deadline=None, max_examples=40)
    @given(seed=st.integers(0, 10**6), gone=st.integers(0, 4))
    def test_subtracting_a_shard_is_never_having_added_it(self, seed, gone):
        x, t, w = drawn(seed=seed)
        like = pilot(x, t, w)
        shards = [moments(x[i::5], t[i::5], w[i::5], like=like) for i in range(5)]
        rest = reduce(added, [s for i, s in enumerate(shards) if i != gone])
        assert_same_bits(subtracted(reduce(added, shards), shards[gone]), rest)

    @settings(deadline=None, max_examples=40)
    @given(seed=st.integers(0, 10**6), columns=st.permutations(range(6)), count=st.integers(0, 6), exact=st.booleans())
    def test_indexing_is_having_had_those_columns_only(self, seed, columns, count, exact):
        x, t, w = drawn(seed=seed)
        columns = columns[:count]
        one = indexed(moments(x, t, w, exact=exact), columns)
        other = moments(x[:, columns], t, w, exact=exact)
        scale = np.abs(x).max() ** 2 * len(x)
        for name in SUMS:
            np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-6 * scale, err_msg=name)
        np.testing.assert_array_equal(one.shift_D, other.shift_D)

    def test_a_stream_in_another_order(self):
        x, t, w = drawn(n=20_000)
        like = pilot(x, t, w)
        shards = [(x[i : i + 3000], t[i : i + 3000], w[i : i + 3000]) for i in range(0, 20_000, 3000)]
        one = accumulate(iter(shards), like=like)
        assert_same_bits(one, accumulate(iter(shards[::-1]), like=like))
        assert one.rows == 20_000
        golden = direct(x, t, w, one.shift_D)
        np.testing.assert_allclose(one.gram_DD, golden["gram_DD"], atol=1e-6 * np.abs(golden["gram_DD"]).max())

    def test_a_stream_leaves_its_blocks_and_its_pilot_alone(self):
        x, t, w = drawn()
        like = pilot(x, t, w)
        accumulate([(x, t, w), (x, t, w)], like=like)
        assert (like.gram_DD == 0).all()
        assert_same_bits(accumulate([], like=like), like)

    def test_sums_beyond_the_grid_are_right_but_not_free_of_order(self):
        x = np.ones((2000, 1), np.float32)
        x[::2] = -1
        x[1500:] *= 1e8
        m = moments(x, np.zeros((2000, 0)))
        assert not order_free(m)
        assert m.gram_DD[0, 0] == pytest.approx(500e16, rel=1e-5)
        assert not order_free(moments(x, np.zeros((2000, 0)), exact=True))


class TestShifts:
    @settings(deadline=None, max_examples=30)
    @given(seed=st.integers(0, 999), away=st.floats(-100, 100))
    def test_statistics_of_different_shifts_add(self, seed, away):
        x, t, w = drawn(seed=seed, dtype=np.float64)
        whole = moments(x, t, w, exact=True)
        near = moments(x[:100], t[:100], w[:100], exact=True)
        far = moments(x[100:], t[100:], w[100:], shift_D=np.full(6, away), exact=True)
        for both in (added(near, far), added(far, near)):
            np.testing.assert_allclose(covariance_DD(both), covariance_DD(whole), rtol=1e-7, atol=1e-7)
            np.testing.assert_allclose(cross_covariance_DC(both), cross_covariance_DC(whole), rtol=1e-7, atol=1e-7)
            assert both.rows == 300

    def test_reshifting_there_and_back(self):
        x, t, w = drawn(dtype=np.float64)
        m = moments(x, t, w, exact=True)
        moved = reshifted(m, m.shift_D + np.arange(6))
        np.testing.assert_allclose(moved.gram_DD, direct(x, t, w, moved.shift_D)["gram_DD"], rtol=1e-10)
        np.testing.assert_allclose(reshifted(moved, m.shift_D).cross_DC, m.cross_DC, atol=1e-9)
        assert reshifted(m, m.shift_D) is m


class TestRefusals:
    @pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
    @pytest.mark.parametrize("exact", [False, True])
    def test_features_that_are_not_finite_name_the_row(self, value, exact):
        x, t, w = drawn(n=9000)
        x[8500, 2] = value
        with pytest.raises(DataError, match="row 8500"):
            moments(x, t, w, exact=exact)

    def test_targets_that_are_not_finite_name_the_row(self):
        x, t, w = drawn()
        t[17, 0] = np.nan
        with pytest.raises(DataError, match="Targets must be finite, but row 17"):
            moments(x, t, w)

    def test_features_whose_squares_float64_cannot_hold(self):
        x = np.ones((2000, 1))
        x[1500:] = 1e200
        with pytest.raises(DataError, match="divide them"):
            moments(x, np.zeros(2000), exact=True)

    @pytest.mark.parametrize(
        ("x", "t", "w", "error", "words"),
        [
            (np.ones(5), np.ones(5), None, UsageError, "examples, features"),
            (np.ones((5, 2)), np.ones(4), None, UsageError, "targets"),
            (np.ones((5, 2)), np.array(list("abcde")), None, UsageError, "targets"),
            (np.ones((5, 2)), np.ones(5), np.ones(4), UsageError, "one number an example"),
            (np.ones((5, 2)), np.ones(5), -np.ones(5), DataError, "not negative"),
            (np.ones((5, 2)), np.ones(5), np.full(5, np.nan), DataError, "finite"),
        ],
    )
    def test_arrays_of_another_form(self, x, t, w, error, words):
        with pytest.raises(error, match=words):
            moments(x, t, w)

    def test_options_that_do_not_fit(self):
        x, t, w = drawn()
        m = moments(x, t, w)
        with pytest.raises(UsageError, match="one number a feature"):
            moments(x, t, w, shift_D=np.zeros(5))
        with pytest.raises(UsageError, match="one number a feature"):
            reshifted(m, np.zeros(5))
        with pytest.raises(UsageError, match="leave one of them out"):
            moments(x, t, w, like=m, shift_D=m.shift_D)
        with pytest.raises(UsageError, match="same features and targets"):
            added(m, moments(x[:, :5], t, w))
        with pytest.raises(UsageError, match="same features and targets"):
            moments(x, t[:, :2], w, like=m)
        with pytest.raises(UsageError, match="larger one first"):
            subtracted(moments(x[:5], t[:5]), m)
        with pytest.raises(DataError, match="stream is empty"):
            accumulate([])

    def test_weights_that_sum_to_0_are_counted_but_have_no_mean(self):
        x, t, _ = drawn()
        m = moments(x, t, np.zeros(300))
        assert m.weight == 0
        assert (m.gram_DD == 0).all()
        for read in (mean_D, covariance_DD, cross_covariance_DC, target_mean_C):
            with pytest.raises(DataError, match="must be positive"):
                read(m)
        assert_same_bits(added(m, moments(x, t, like=m)), added(moments(x, t, like=m), m))

    def test_no_rows_and_no_features(self):
        empty = moments(np.zeros((0, 4)), np.zeros((0, 2)))
        assert empty.rows == empty.weight == 0
        assert moments(np.zeros((5, 0)), np.zeros((5, 2))).gram_DD.shape == (0, 0)
