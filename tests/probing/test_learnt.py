"""The sums behind a head: what is added and taken out gives the head that a fit to the rest gives."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from transfuse.core.errors import DataError, UsageError
from transfuse.probing.basis import deviations_D
from transfuse.probing.learnt import Learnt, coded, less, more, solved
from transfuse.probing.moments import moments

N, D, C = 60, 7, 3
KINDS = ("single-label", "multi-label", "regression")


def drawn(kind: str, n: int = N, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features of unequal sizes far from 0, targets, weights."""
    rng = np.random.default_rng(seed)
    x_ND = (rng.normal(size=(n, D)) * np.logspace(-2, 2, D) + 300).astype(np.float32)
    if kind == "single-label":
        targets = rng.integers(0, C, n)
    elif kind == "multi-label":
        targets = rng.integers(0, 2, (n, C)).astype(np.float32)
    else:
        targets = (5 + rng.normal(size=(n, C))).astype(np.float32)
    return x_ND, targets, rng.uniform(0.2, 3, n).astype(np.float32)


def learnt_of(kind: str, x_ND, targets, weights_N, names, like: Learnt | None = None) -> Learnt:
    """The sums of some rows, in the metric of `like`."""
    sums = moments(x_ND, coded(targets, kind, C), weights_N.astype(float), exact=True)
    return Learnt(
        kind=kind,
        moments=sums,
        scale_D=deviations_D(sums) if like is None else like.scale_D,
        strength=0.3,
        temperature=0.7,
        losses={},
        solver="ridge",
        digests=tuple(names),
        targets=targets,
        weights_N=weights_N,
        factors_C=np.ones(C),
        unit=1.0,
        precision="float32",
    )


def names(n: int, first: int = 0) -> tuple[str, ...]:
    return tuple(f"{row:064x}" for row in range(first, first + n))


def by_sklearn(kind: str, x_ND, targets, weights_N, scale_D) -> tuple[np.ndarray, np.ndarray]:
    """The same objective: sum of w over total weight, plus strength times the squared norm, on scaled features."""
    t_NC = np.eye(C)[targets] if kind == "single-label" else np.asarray(targets, float)
    t_NC = 2 * t_NC - 1 if kind == "multi-label" else t_NC
    weights_N = weights_N.astype(float)
    ridge = Ridge(alpha=0.3 * weights_N.sum(), solver="cholesky")
    ridge.fit((x_ND.astype(float) - 300) / scale_D, t_NC, sample_weight=weights_N)
    weight_CD = ridge.coef_ / scale_D
    return weight_CD, ridge.intercept_ - weight_CD @ np.full(D, 300.0)


def assert_same_head(one, other, tolerance: float = 1e-9) -> None:
    """Equal in units of the largest weight, and in what they say around the examples."""
    (weight_a, bias_a), (weight_b, bias_b) = one, other
    np.testing.assert_allclose(weight_a, weight_b, rtol=tolerance, atol=tolerance * np.abs(weight_b).max())
    np.testing.assert_allclose(bias_a, bias_b, rtol=tolerance, atol=tolerance * (1 + np.abs(bias_b).max()))


@pytest.mark.parametrize("kind", KINDS)
def test_the_head_is_that_of_scikit_learn(kind):
    x_ND, targets, weights_N = drawn(kind)
    learnt = learnt_of(kind, x_ND, targets, weights_N, names(N))
    assert_same_head(solved(learnt), by_sklearn(kind, x_ND, targets, weights_N, learnt.scale_D))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", [2, 30, 59])
def test_more_is_a_fit_to_all_and_less_undoes_it(kind, first):
    x_ND, targets, weights_N = drawn(kind)
    a = learnt_of(kind, x_ND[:first], targets[:first], weights_N[:first], names(first))
    both = more(a, x_ND[first:], targets[first:], weights_N[first:], names(N - first, first))
    assert_same_head(solved(both), by_sklearn(kind, x_ND, targets, weights_N, a.scale_D), 1e-8)
    assert both.digests == names(N) and both.moments.rows == len(both.targets) == N
    back = less(both, x_ND[first:], names(N - first, first))
    assert_same_head(solved(back), solved(a), 1e-8)
    assert back.digests == a.digests and back.moments.rows == first
    np.testing.assert_array_equal(back.targets, a.targets)
    np.testing.assert_array_equal(back.weights_N, a.weights_N)


@settings(max_examples=30, deadline=None)
@given(st.sets(st.integers(0, N - 1), min_size=1, max_size=N - 3), st.sampled_from(KINDS), st.integers(0, 5))
def test_any_rows_can_be_forgotten_in_any_order(rows, kind, seed):
    x_ND, targets, weights_N = drawn(kind, seed=seed)
    learnt = learnt_of(kind, x_ND, targets, weights_N, names(N))
    order = np.random.default_rng(seed).permutation(sorted(rows))
    half = len(order) // 2
    without = learnt
    for part in (order[:half], order[half:]):
        without = less(without, x_ND[part], [names(N)[row] for row in part])
    left = np.setdiff1d(np.arange(N), order)
    fresh = by_sklearn(kind, x_ND[left], targets[left], weights_N[left], learnt.scale_D)
    assert_same_head(solved(without), fresh, 1e-7)


def test_an_outlier_that_is_forgotten_leaves_no_trace_in_the_shift():
    x_ND, targets, weights_N = drawn("regression")
    x_ND[0] = 1e4
    learnt = learnt_of("regression", x_ND, targets, weights_N, names(N))
    without = less(learnt, x_ND[:1], names(1))
    mean_D = np.average(x_ND[1:].astype(float), axis=0, weights=weights_N[1:].astype(float))
    np.testing.assert_allclose(without.moments.shift_D, mean_D, rtol=1e-9)
    np.testing.assert_allclose(without.moments.sum_D, 0, atol=1e-6)


def test_every_copy_of_an_example_is_forgotten_whatever_its_label():
    x_ND, targets, weights_N = drawn("single-label")
    x_ND[1], targets[:2] = x_ND[0], (0, 2)
    twice = ("0" * 64, *names(N)[:1], *names(N)[2:])
    learnt = learnt_of("single-label", x_ND, targets, weights_N, twice)
    without = less(learnt, x_ND[:1], names(1))
    assert without.moments.rows == N - 2
    fresh = by_sklearn("single-label", x_ND[2:], targets[2:], weights_N[2:], learnt.scale_D)
    assert_same_head(solved(without), fresh, 1e-8)


def test_a_class_without_examples_is_never_chosen():
    x_ND, targets, weights_N = drawn("single-label")
    gone = np.flatnonzero(targets == 1)
    learnt = less(
        learnt_of("single-label", x_ND, targets, weights_N, names(N)), x_ND[gone], [names(N)[row] for row in gone]
    )
    weight_CD, bias_C = solved(learnt)
    assert 1 not in (x_ND @ weight_CD.T + bias_C).argmax(axis=1)


def test_constant_features_get_no_weight():
    x_ND, targets, weights_N = drawn("regression")
    x_ND[:, 2] = 300.1
    learnt = learnt_of("regression", x_ND, targets, weights_N, names(N))
    assert (solved(learnt)[0][:, 2] == 0).all()
    others = np.delete(np.arange(D), 2)
    fresh = learnt_of("regression", x_ND[:, others], targets, weights_N, names(N))
    np.testing.assert_allclose(solved(learnt)[0][:, others], solved(fresh)[0], rtol=1e-9)
    x_ND[:, 2] += np.arange(N)
    more_varied = more(learnt, x_ND, targets, weights_N, names(N, N))
    assert (solved(more_varied)[0][:, 2] == 0).all()  # the metric stays


def test_what_was_not_learnt_cannot_be_forgotten():
    x_ND, targets, weights_N = drawn("single-label")
    learnt = learnt_of("single-label", x_ND, targets, weights_N, names(N))
    with pytest.raises(DataError, match="1 of 2 were not"):
        less(learnt, x_ND[:2], [*names(1), *names(1, N)])


def test_two_examples_must_be_left():
    x_ND, targets, weights_N = drawn("single-label")
    learnt = learnt_of("single-label", x_ND, targets, weights_N, names(N))
    with pytest.raises(DataError, match="At least 2 examples must be left, but 59 of 60"):
        less(learnt, x_ND[:59], names(59))
    idle = replace(learnt, weights_N=np.r_[weights_N[:1], np.zeros(N - 1)].astype(np.float32))
    with pytest.raises(DataError, match="At least 2"):
        less(idle, x_ND[1:2], names(1, 1))


def test_features_of_another_width_are_refused():
    x_ND, targets, weights_N = drawn("single-label")
    learnt = learnt_of("single-label", x_ND, targets, weights_N, names(N))
    with pytest.raises(UsageError, match=r"must be \(examples, 7\)"):
        more(learnt, x_ND[:, :4], targets, weights_N, names(N, N))
