"""What blocks buy: out-of-fold outputs against scikit-learn's heads, and what the intervals say."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from transfuse.core.errors import UsageError
from transfuse.probing.block_gains import block_gains
from transfuse.probing.block_statistics import fold_moments, whole
from transfuse.probing.blocks import choose_blocks


def problem(n=600, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 4, n)
    latent = 0.8 * rng.normal(size=(4, 8))[y] + rng.normal(size=(n, 8))
    blocks = {
        "second": latent[:, 4:] @ rng.normal(size=(4, 7)) + rng.normal(size=(n, 7)),
        "noise": rng.normal(size=(n, 5)),
        "first": latent[:, :6] @ rng.normal(size=(6, 9)) + 0.1 * rng.normal(size=(n, 9)) + 4,
    }
    return blocks, y, np.eye(4)[y], np.arange(n) % 3


def gains_of(blocks, y, t, fold, kind="single-label", **options):
    folds = fold_moments(blocks, t, fold)
    choice = choose_blocks(whole(folds), {name: block.shape[1] for name, block in blocks.items()})
    return choice, block_gains(blocks, y, kind, choice, folds=folds, fold_N=fold, **options)


def out_of_fold(blocks, t, fold, strengths):
    x = np.concatenate([blocks[name] for name in strengths], 1)
    x = x / x.std(0) / np.sqrt(np.repeat(list(strengths.values()), [blocks[name].shape[1] for name in strengths]))
    outputs = np.empty(t.shape)
    for k in range(fold.max() + 1):
        ridge = Ridge(alpha=(fold != k).sum(), tol=1e-12).fit(x[fold != k], t[fold != k])
        outputs[fold == k] = ridge.predict(x[fold == k])
    return outputs


@pytest.mark.parametrize("given", [False, True])
def test_outputs_of_every_prefix_equal_scikit_learn(given):
    blocks, y, t, fold = problem()
    other = {"first": 0.7, "second": 0.01, "noise": 3.0} if given else None
    choice, gains = gains_of(blocks, y, t, fold, strengths=other)
    assert [gain.block for gain in gains] == ["first", "second"]
    strengths = {}
    for step, gain in zip(choice.steps, gains, strict=True):
        strengths[step.block] = other[step.block] if other else step.strength
        np.testing.assert_allclose(gain.outputs_NC, out_of_fold(blocks, t, fold, strengths), atol=2e-5)


def test_scores_and_gains_are_those_of_the_outputs():
    blocks, y, t, fold = problem(n=2000)
    _, gains = gains_of(blocks, y, t, fold)
    accuracy = [(gain.outputs_NC.argmax(1) == y).mean() for gain in gains]
    assert [gain.score["value"] for gain in gains] == pytest.approx(accuracy)
    assert gains[1].gain["value"] == pytest.approx(accuracy[1] - accuracy[0])
    assert gains[0].gain["value"] > accuracy[0] - 0.35  # four classes of about the same size without any block
    for gain in gains:
        assert gain.metric == "accuracy"
        assert gain.score["low"] < gain.score["value"] < gain.score["high"]
        assert 0 < gain.gain["low"] < gain.gain["value"] < gain.gain["high"]


@pytest.mark.parametrize(("kind", "metric"), [("multi-label", "average_precision"), ("regression", "rmse")])
def test_other_kinds(kind, metric):
    blocks, _, t, fold = problem()
    _, gains = gains_of(blocks, t, t, fold, kind)
    assert {gain.metric for gain in gains} == {metric}
    assert all(gain.gain["low"] > 0 for gain in gains)


def test_groups_widen_the_interval():
    blocks, y, t, _ = problem(n=200)
    blocks = {name: block.repeat(5, 0) for name, block in blocks.items()}
    y, t = y.repeat(5), t.repeat(5, 0)
    fold = np.arange(1000) // 5 % 3
    narrow = gains_of(blocks, y, t, fold)[1][0].score
    wide = gains_of(blocks, y, t, fold, groups=(np.arange(1000) // 5).tolist())[1][0].score
    assert wide["high"] - wide["low"] > 1.5 * (narrow["high"] - narrow["low"])


def test_nothing_chosen_buys_nothing():
    blocks, y, t, fold = problem()
    choice, gains = gains_of({"noise": blocks["noise"]}, y, t, fold)
    assert choice.steps == gains == ()


def test_bad_input():
    blocks, y, t, fold = problem()
    with pytest.raises(UsageError, match="lacks \\['second'\\]"):
        gains_of(blocks, y, t, fold, strengths={"first": 1.0})
    folds = fold_moments(blocks, t, fold)
    choice = choose_blocks(whole(folds), {name: block.shape[1] for name, block in blocks.items()})
    with pytest.raises(UsageError, match="`fold` must put"):
        block_gains(blocks, y, "single-label", choice, folds=folds, fold_N=np.zeros(600, int))
