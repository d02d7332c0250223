"""The ridge path across folds against direct solutions, scikit-learn, and refitting without the fold."""

from functools import reduce

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from transfuse.probing.basis import row_deviations_D
from transfuse.probing.moments import added, moments, subtracted
from transfuse.probing.ridge import STRENGTHS, out_of_fold, path_of, ridge_cv, ridge_fit


def drawn(n, d, c=2, seed=0, folds=3):
    rng = np.random.default_rng(seed)
    x, t, w = rng.normal(size=(n, d)) * 2 + 3, rng.normal(size=(n, c)), rng.uniform(0.5, 2, n)
    return x, t, w, np.arange(n) % folds


def direct(x, t, w, scale, strength):
    """Weights (C, D) and bias (C,) from the normal equations."""
    share = w / w.sum()
    z = (x - share @ x) / scale
    gram = z.T @ (share[:, None] * z) + strength * np.eye(x.shape[1])
    weight = (np.linalg.solve(gram, z.T @ (share[:, None] * (t - share @ t))) / scale[:, None]).T
    return weight, share @ t - weight @ (share @ x)


class TestAgainstDirectSolutions:
    @settings(deadline=None, max_examples=30)
    @given(n=st.integers(6, 40), d=st.integers(1, 40), seed=st.integers(0, 999))
    def test_every_fold_equals_refitting_without_it(self, n, d, seed):
        x, t, w, fold = drawn(n, d, seed=seed)
        path = ridge_cv(x, t, w, fold)
        held_JNC, scale = out_of_fold(path), row_deviations_D(x, w)
        for j, strength in enumerate(STRENGTHS):
            if strength < 1e-4:
                continue  # the direct solution itself loses its digits there
            weight, bias = ridge_fit(path, strength)
            golden = direct(x, t, w, scale, strength)
            np.testing.assert_allclose(x @ weight.T + bias, x @ golden[0].T + golden[1], atol=1e-6)
            for k in range(3):
                others = fold != k
                weight, bias = direct(x[others], t[others], w[others], scale, strength)
                np.testing.assert_allclose(held_JNC[j][~others], x[~others] @ weight.T + bias, atol=1e-6)

    @pytest.mark.parametrize("shape", [(50, 7), (12, 40)])
    @pytest.mark.parametrize("strength", [10.0, 1e-2])
    def test_coefficients_equal_scikit_learn(self, shape, strength):
        x, t, w, fold = drawn(*shape, c=3)
        scale = row_deviations_D(x, w)
        weight, bias = ridge_fit(ridge_cv(x, t, w, fold), strength)
        golden = Ridge(alpha=strength * w.sum(), tol=1e-12).fit(x / scale, t, sample_weight=w)
        np.testing.assert_allclose(weight * scale, golden.coef_, atol=1e-9)
        np.testing.assert_allclose(bias, golden.intercept_, atol=1e-9)

    def test_weights_count_like_repeated_rows(self):
        x, t, _, fold = drawn(60, 5)
        times = np.random.default_rng(0).integers(0, 4, 60)
        one = ridge_cv(x, t, times.astype(float), fold)
        x2, t2, fold2 = (np.repeat(part, times, axis=0) for part in (x, t, fold))
        other = ridge_cv(x2, t2, np.ones(len(x2)), fold2)
        np.testing.assert_allclose(ridge_fit(one, 0.1)[0], ridge_fit(other, 0.1)[0], atol=1e-9)
        np.testing.assert_allclose(np.repeat(out_of_fold(one), times, axis=1), out_of_fold(other), atol=1e-9)

    def test_part_of_the_path(self):
        path = ridge_cv(*drawn(40, 5))
        np.testing.assert_array_equal(out_of_fold(path, slice(3, 7)), out_of_fold(path)[3:7])


class TestSubtraction:
    @settings(deadline=None, max_examples=15)
    @given(seed=st.integers(0, 999), gone=st.integers(0, 4))
    def test_subtracting_a_fold_gives_the_head_of_the_others_to_the_bit(self, seed, gone):
        x, t, w, fold = drawn(300, 20, seed=seed, folds=5)
        x = x.astype(np.float32)
        like = moments(x, t, w, rows=np.arange(0))
        parts = [moments(x, t, w, rows=np.flatnonzero(fold == k), like=like) for k in range(5)]
        less = subtracted(reduce(added, parts), parts[gone])
        others = reduce(added, [part for k, part in enumerate(parts) if k != gone])
        for one, other in zip(
            path_of(less, np.ones(20), STRENGTHS), path_of(others, np.ones(20), STRENGTHS), strict=True
        ):
            np.testing.assert_array_equal(one, other)

    @pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
    def test_float32_sums_are_as_close_to_the_refit_as_promised(self, scale):
        """Columns of 30 sizes, 20 deviations from 0, condition 1e5: 1e-5 for strengths from 1e-3 on, 2e-4 below."""
        rng = np.random.default_rng(3)
        z = rng.normal(size=(3000, 30)) @ np.diag(np.logspace(0, -1.5, 30)) @ rng.normal(size=(30, 30))
        t, w, fold = np.eye(3)[(z[:, :3]).argmax(1)], rng.uniform(0.5, 2, 3000), np.arange(3000) % 5
        z = z / z.std(0) + 20
        x = (z * np.logspace(-6, 6, 30) * scale).astype(np.float32)
        exact, rough = (
            ridge_cv(x.astype(kind), t, w, fold, exact=e) for kind, e in ((float, True), (np.float32, False))
        )
        one, other = out_of_fold(exact), out_of_fold(rough)
        assert other.dtype == np.float32
        weak = np.array(STRENGTHS) < 1e-3
        np.testing.assert_allclose(other[~weak], one[~weak], atol=1e-5)
        np.testing.assert_allclose(other[weak], one[weak], atol=2e-4)

    def test_rank_deficient_float32_features_are_as_close_as_promised(self):
        """Every column twice: 1e-5 for strengths of 1e-3 and above, 2e-4 below."""
        rng = np.random.default_rng(4)
        x = rng.normal(size=(2000, 20)).astype(np.float32)
        x = np.concatenate([x, x, np.ones((2000, 3), np.float32), x[:, :5] * np.float32(1e-3)], axis=1)
        t, w, fold = x[:, :2] + rng.normal(size=(2000, 2)), np.ones(2000), np.arange(2000) % 5
        one, other = (out_of_fold(ridge_cv(x, t, w, fold, exact=exact)) for exact in (True, False))
        weak = np.array(STRENGTHS) < 1e-3
        np.testing.assert_allclose(other[~weak], one[~weak], atol=1e-5)
        np.testing.assert_allclose(other[weak], one[weak], atol=2e-4)

    def test_the_metric_is_that_of_all_rows_and_sees_no_held_out_target(self):
        x, t, w, fold = drawn(60, 5)
        changed = t.copy()
        changed[fold == 1] = 99.0
        one, other = (out_of_fold(ridge_cv(x, targets, w, fold)) for targets in (t, changed))
        np.testing.assert_allclose(one[:, fold == 1], other[:, fold == 1], atol=1e-9)
        assert np.abs(one[:, fold == 0] - other[:, fold == 0]).max() > 1


class TestOdd:
    @pytest.mark.parametrize("exact", [True, False])
    def test_constant_columns_get_no_weight(self, exact):
        x, t, w, fold = drawn(50, 4)
        padded = np.concatenate([x, np.full((50, 2), 1e8 / 3), np.zeros((50, 1))], axis=1)
        weight, _ = ridge_fit(ridge_cv(padded, t, w, fold, exact=exact), 1e-3)
        golden, _ = ridge_fit(ridge_cv(x, t, w, fold, exact=exact), 1e-3)
        assert (weight[:, 4:] == 0).all()
        np.testing.assert_allclose(weight[:, :4], golden, atol=1e-9 if exact else 1e-5)

    @pytest.mark.parametrize("shape", [(5, 3), (3, 5)])
    def test_only_constant_columns_answer_with_the_mean(self, shape):
        t = np.arange(float(shape[0]))[:, None]
        path = ridge_cv(np.ones(shape), t, np.ones(shape[0]), np.zeros(shape[0], int))
        weight, bias = ridge_fit(path, 1.0)
        assert (weight == 0).all()
        assert bias == pytest.approx(t.mean())
        assert (out_of_fold(path) == 0).all()

    def test_two_examples(self):
        path = ridge_cv(np.array([[0.0, 1.0], [1.0, 0.0]]), np.eye(2), np.ones(2), np.array([0, 1]))
        np.testing.assert_allclose(out_of_fold(path)[0], [[0, 1], [1, 0]], atol=1e-12)  # the mean of the other one
        weight, bias = ridge_fit(path, 1e-6)
        np.testing.assert_allclose(np.array([[0.0, 1.0], [1.0, 0.0]]) @ weight.T + bias, np.eye(2), atol=1e-5)

    def test_a_fold_whose_others_have_no_weight_is_answered_by_0(self):
        x, t, w, fold = drawn(30, 4)
        w[fold != 0] = 0
        held = out_of_fold(ridge_cv(x, t, w, fold))
        assert (held[:, fold == 0] == 0).all()
        assert np.isfinite(held).all()
        assert (held[:, fold == 1] != 0).all()

    def test_a_class_in_one_fold_only_is_never_answered_there(self):
        x, _, w, fold = drawn(60, 4)
        t = np.eye(3)[np.where(fold == 2, 2, np.arange(60) % 2)]
        held = out_of_fold(ridge_cv(x, t, w, fold))
        np.testing.assert_allclose(held[:, fold == 2, 2], 0, atol=1e-9)

    def test_memory_mapped_half_precision(self, tmp_path):
        x, t, w, fold = drawn(200, 6)
        np.save(tmp_path / "x.npy", x.astype(np.float16))
        mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
        one, other = (ridge_cv(part, t, w, fold, exact=False) for part in (mapped, x.astype(np.float16).astype(float)))
        np.testing.assert_allclose(out_of_fold(one), out_of_fold(other), atol=1e-5)
