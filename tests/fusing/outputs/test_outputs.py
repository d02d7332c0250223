"""Methods of fusing predictions, against a few independent lines of NumPy. M members, N examples, C classes."""

import inspect

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transfuse.core.errors import UsageError
from transfuse.core.tables import resolve
from transfuse.fusing.outputs.average import average
from transfuse.fusing.outputs.blending import Blend, blended, side_by_side
from transfuse.fusing.outputs.caruana import caruana
from transfuse.fusing.outputs.methods import GIVEN, LEARNT, METHODS
from transfuse.fusing.outputs.stacking import stacking


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def answers(members=4, count=60, classes=3, seed=0, skill=(2.0, 1.5, 1.0, 0.0)):
    """Members that know the truth more or less."""
    random = np.random.default_rng(seed)
    y_N = random.integers(0, classes, count)
    z_MNC = random.normal(size=(members, count, classes)) * 1.5
    for m in range(members):
        z_MNC[m, np.arange(count), y_N] += skill[m % len(skill)]
    return softmax(z_MNC), y_N


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", ["single-label", "multi-label", "regression"])
def test_the_contract_of_a_method(name, kind):
    method = resolve(METHODS, name, "method")
    p_MNC, y_N = answers()
    targets = y_N if kind == "single-label" else np.eye(3, dtype=np.float32)[y_N]
    parameters = inspect.signature(method).parameters
    assert list(parameters)[:5] == ["p_MNC", "targets", "kind", *GIVEN] and name in LEARNT
    blend = method(p_MNC, targets, kind, seed=0)
    z_NC = blended(blend, p_MNC, kind)
    assert z_NC.shape == (60, 3) and np.isfinite(z_NC).all()
    if blend.share_M is not None:
        assert blend.share_M.min() >= 0 and blend.share_M.sum() == pytest.approx(1)
    again = method(p_MNC, targets, kind, seed=0)
    np.testing.assert_array_equal(blended(again, p_MNC, kind), z_NC)


def test_the_mean_is_of_probabilities():
    p_MNC, y_N = answers(members=2)
    z_NC = blended(average(p_MNC, y_N, "single-label", weight=[3, 1]), p_MNC, "single-label")
    np.testing.assert_allclose(softmax(z_NC), 0.75 * p_MNC[0] + 0.25 * p_MNC[1], atol=1e-12)
    z_NC = blended(average(p_MNC, y_N, "multi-label"), p_MNC, "multi-label")
    np.testing.assert_allclose(1 / (1 + np.exp(-z_NC)), p_MNC.mean(0), atol=1e-12)
    np.testing.assert_allclose(blended(average(p_MNC, y_N, "regression"), p_MNC, "regression"), p_MNC.mean(0))


@pytest.mark.parametrize("weight", [[1.0], [0.0, 0.0], [-1.0, 2.0], [float("nan"), 1.0]])
def test_weights_that_have_no_mean_are_refused(weight):
    p_MNC, y_N = answers(members=2)
    with pytest.raises(UsageError, match="weight"):
        average(p_MNC, y_N, "single-label", weight=weight)


def selected(p_MNC, y_N, rounds):
    """Caruana et al. 2004, section 2.1, by brute force: every bag of counts the climb passes through."""
    bag, path = [], []
    for _ in range(rounds):
        losses = []
        for m in range(len(p_MNC)):
            mean_NC = np.mean([p_MNC[k] for k in [*bag, m]], axis=0)
            losses.append(-np.log([mean_NC[n, y] for n, y in enumerate(y_N)]).mean())
        bag.append(int(np.argmin(losses)))
        path.append((min(losses), list(bag)))
    counts = np.bincount(min(path, key=lambda step: step[0])[1], minlength=len(p_MNC))
    return counts / counts.sum()


@pytest.mark.parametrize("seed", range(5))
def test_selection_with_replacement_is_the_papers(seed):
    p_MNC, y_N = answers(seed=seed)
    share_M = caruana(p_MNC, y_N, "single-label", rounds=20).share_M
    np.testing.assert_allclose(share_M, selected(p_MNC, y_N, 20), atol=1e-12)
    assert (share_M > 0).sum() > 0 and share_M[3] == 0  # the one that guesses is left out


def test_bags_and_the_start_of_the_best():
    p_MNC, y_N = answers(members=6, skill=(2.0, 1.9, 1.8, 0.5, 0.2, 0.0))
    one, bags = (caruana(p_MNC, y_N, "single-label", bags=b, seed=1).share_M for b in (1, 9))
    assert (bags > 0).sum() >= (one > 0).sum() and bags.sum() == pytest.approx(1)
    losses = [-np.log(p[np.arange(60), y_N]).mean() for p in p_MNC]
    best = np.argsort(losses)[:3]
    started = caruana(p_MNC, y_N, "single-label", initial=3, rounds=3).share_M
    np.testing.assert_allclose(started[best], 1 / 3)
    with pytest.raises(UsageError, match="rounds"):
        caruana(p_MNC, y_N, "single-label", rounds=0)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 1000), loss=st.sampled_from(["log_loss", "error"]))
def test_selection_is_never_worse_than_its_best_member_where_it_learnt(seed, loss):
    p_MNC, y_N = answers(seed=seed, count=25)
    mean_NC = np.einsum("m,mnc->nc", caruana(p_MNC, y_N, "single-label", loss=loss).share_M, p_MNC)

    def judged(p_NC):
        if loss == "error":
            return np.mean(p_NC.argmax(1) != y_N)
        return -np.log(p_NC[np.arange(25), y_N]).mean()

    assert judged(mean_NC) <= min(judged(p_NC) for p_NC in p_MNC) + 1e-12


def test_stacking_is_a_linear_head_on_cut_log_probabilities():
    p_MNC, y_N = answers(members=2, count=200, skill=(2.0, 1.5))
    p_MNC[1, 0] = [1.0, 0.0, 0.0]  # log 0 is cut
    blend = stacking(p_MNC, y_N, "single-label")
    x_NX = np.concatenate([np.maximum(np.log(np.maximum(p_MNC[m], 1e-300)), -14.0) for m in range(2)], 1)
    np.testing.assert_allclose(side_by_side(p_MNC, "single-label"), x_NX, atol=1e-12)
    z_NC = blended(blend, p_MNC, "single-label")
    np.testing.assert_allclose(z_NC, x_NX @ blend.weight_CX.T + blend.bias_C, atol=1e-9)


def test_stacking_repairs_a_member_that_mistakes_one_class_for_another():
    p_MNC, y_N = answers(members=2, count=300, skill=(3.0, 0.0))
    p_MNC[0] = p_MNC[0][:, [1, 0, 2]]
    blend = stacking(p_MNC, y_N, "single-label", head="logistic")
    assert np.mean(blended(blend, p_MNC, "single-label").argmax(1) == y_N) > 0.8 > np.mean(p_MNC[0].argmax(1) == y_N)


def test_stacking_of_numbers_finds_the_coefficients():
    random = np.random.default_rng(0)
    v_MNC = random.normal(size=(2, 400, 1))
    targets = 2.0 * v_MNC[0] - 0.5 * v_MNC[1] + 3.0
    blend = stacking(v_MNC, targets, "regression")
    np.testing.assert_allclose(blend.weight_CX, [[2.0, -0.5]], atol=0.02)
    np.testing.assert_allclose(blended(blend, v_MNC, "regression"), targets, atol=0.1)


def test_a_blend_of_one_member_is_that_member():
    p_MNC, _ = answers(members=2)
    z_NC = blended(Blend(share_M=np.array([0.0, 1.0])), p_MNC, "single-label")
    np.testing.assert_allclose(softmax(z_NC), p_MNC[1], atol=1e-12)
