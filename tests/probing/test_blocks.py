"""The choice of blocks against dense Gaussians, and against cross-validated ridge heads."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from transfuse.core.errors import DataError, UsageError
from transfuse.probing.blocks import choose_blocks
from transfuse.probing.moments import moments

B = 24


def sources(seed, names, n=1200, classes=6):
    """Blocks of rectified features that see parts of a common latent, copies and mixtures of them; one-hot targets."""
    rng = np.random.default_rng(seed)
    y = rng.integers(0, classes, n)
    latent = rng.normal(size=(n, 32)) + 0.9 * rng.normal(size=(classes, 32))[y]

    def view(start, stop, noise=0.3):
        seen = latent[:, start:stop] + noise * rng.normal(size=(n, stop - start))
        return np.maximum(seen @ rng.normal(size=(stop - start, B)) / np.sqrt(stop - start), 0)

    made = {
        "a": view(0, 14),
        "b": view(8, 22),
        "c": view(18, 32),
        "small": view(28, 32),
        "poor": view(0, 32, 2.0),
        "fair": view(0, 32, 1.0),
        "good": view(0, 32, 0.3),
        "noise": rng.normal(size=(n, B)),
    }
    made["a again"] = made["a"] * 3.0 + 1.0
    made["a turned"] = made["a"] @ np.linalg.qr(rng.normal(size=(B, B)))[0]
    made["a blurred"] = made["a"] + 0.3 * made["a"].std(0) * rng.normal(size=(n, B))
    made["a and b"] = np.concatenate([made["a"][:, : B // 2], made["b"][:, : B // 2]], 1)
    flipped = np.where(rng.random(n) < 0.05, rng.integers(0, classes, n), y)
    return {name: made[name] for name in names}, np.eye(classes)[flipped]


def chosen(blocks, t, weights=None, **options):
    x = np.concatenate(list(blocks.values()), 1)
    m = moments(x, t, weights, exact=True)
    return choose_blocks(m, {name: block.shape[1] for name, block in blocks.items()}, **options)


def dense_evidence(blocks, strengths, t):
    """Of N - 1 contrasts of each target under their Gaussian: no Schur complement, no Gram matrix of features."""
    n = len(t)
    covariance = np.eye(n)
    for name, strength in strengths.items():
        spread = blocks[name].std(0)
        z = (blocks[name] - blocks[name].mean(0)) / np.where(spread > 0, spread, 1)
        covariance += z @ z.T / (n * strength)
    centred = t - t.mean(0)
    noise = (centred * np.linalg.solve(covariance, centred)).sum(0)
    fit = -0.5 * (n - 1) / n * (np.log(2 * np.pi * noise / (n - 1)) + 1)
    return fit.mean() - 0.5 * np.linalg.slogdet(covariance)[1] / n


@pytest.mark.parametrize("n", [300, 50])
def test_evidence_is_that_of_the_dense_gaussian(n):
    blocks, t = sources(1, ["a", "b", "small"], n=n)
    choice = chosen(blocks, t)
    assert choice.baseline == pytest.approx(dense_evidence(blocks, {}, t), abs=1e-9)
    assert len(choice.steps) >= 1
    strengths = {}
    for step in choice.steps:
        strengths[step.block] = step.strength
        assert step.evidence == pytest.approx(dense_evidence(blocks, strengths, t), abs=1e-8)


def test_strengths_are_the_best_ones_but_for_a_thousandth_of_the_gain():
    blocks, t = sources(2, ["a", "b", "small"], n=300)
    strengths, before = {}, chosen(blocks, t).baseline
    for step in chosen(blocks, t).steps:
        best = minimize_scalar(
            lambda s, block=step.block: -dense_evidence(blocks, {**strengths, block: np.exp(s)}, t),
            bounds=(np.log(1e-5), np.log(1e3)),
        )
        assert -best.fun - step.evidence < 1e-3 * (step.evidence - before)
        strengths[step.block], before = step.strength, step.evidence


def cross_validated(blocks, t, names):
    """Share of the squared deviation left by ridge heads, 5 folds, the best common strength of 9."""
    x = np.concatenate([blocks[name] for name in names], 1)
    x = (x - x.mean(0)) / x.std(0)
    fold = np.arange(len(t)) % 5
    left = np.zeros(9)
    for k in range(5):
        inside, outside = fold != k, fold == k
        mean, level = x[inside].mean(0), t[inside].mean(0)
        values, vectors = np.linalg.eigh((x[inside] - mean).T @ (x[inside] - mean) / inside.sum())
        z = (x - mean) @ vectors
        right = z[inside].T @ (t[inside] - level) / inside.sum()
        for j, strength in enumerate(np.logspace(-3, 1, 9)):
            answer = level + z[outside] @ (right / (values + strength)[:, None])
            left[j] += ((answer - t[outside]) ** 2).sum()
    return left.min() / ((t - t.mean(0)) ** 2).sum()


CASES = [
    ["a", "b", "c", "small"],
    ["poor", "fair", "good"],
    ["a", "a again", "b", "a turned", "noise", "c"],
    ["a and b", "a", "a blurred", "b", "c"],
    ["a blurred", "noise", "good", "a", "poor"],
]


@pytest.mark.parametrize("names", CASES)
@pytest.mark.parametrize("seed", range(3))
def test_every_step_is_the_one_that_cross_validation_takes(names, seed):
    """Step by step, ties (copies of one another, or less than 1 % of the deviation apart) counting as equal."""
    blocks, t = sources(seed, names)
    choice = chosen(blocks, t)
    joined, left = [], list(names)
    for step in choice.steps:
        errors = {name: cross_validated(blocks, t, [*joined, name]) for name in left}
        assert errors[step.block] < min(errors.values()) + 0.01
        joined.append(step.block)
        left.remove(step.block)
    now = cross_validated(blocks, t, joined)
    assert all(cross_validated(blocks, t, [*joined, name]) > now - 0.003 for name in left)
    assert set(left) == set(choice.rejected)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999), turned=st.booleans())
def test_a_block_that_repeats_another_does_not_join(seed, turned):
    twin = "a turned" if turned else "a again"
    blocks, t = sources(seed, ["a", twin, "c"], n=600)
    joined = {step.block for step in chosen(blocks, t).steps}
    assert "c" in joined
    assert len({"a", twin} & joined) == 1


def test_noise_joins_about_once_in_a_hundred_times():
    joined = 0
    for seed in range(60):
        blocks, t = sources(seed, ["a", "noise"], n=300)
        joined += "noise" in {step.block for step in chosen(blocks, t).steps}
    assert joined <= 3


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 999))
def test_choice_depends_neither_on_the_order_of_blocks_nor_on_units(seed):
    rng = np.random.default_rng(seed)
    blocks, t = sources(seed, ["a", "b", "c", "poor", "noise"], n=400)
    names = rng.permutation(list(blocks))
    other = {name: blocks[name] * 10.0 ** rng.uniform(-2, 2, B) + rng.normal(size=B) for name in names}
    one, two = chosen(blocks, t), chosen(other, t)
    assert [step.block for step in one.steps] == [step.block for step in two.steps]
    for a, b in zip(one.steps, two.steps, strict=True):
        assert a.evidence == pytest.approx(b.evidence, abs=1e-8)
        assert a.strength == pytest.approx(b.strength, rel=1e-5)


def test_float32_statistics_choose_the_same():
    blocks, t = sources(0, ["a", "a turned", "b", "c", "noise", "fair"])
    x, widths = np.concatenate(list(blocks.values()), 1).astype(np.float32), dict.fromkeys(blocks, B)
    one, two = choose_blocks(moments(x, t), widths), choose_blocks(moments(x, t, exact=True), widths)
    assert [step.block for step in one.steps] == [step.block for step in two.steps]
    assert one.steps[-1].evidence == pytest.approx(two.steps[-1].evidence, abs=1e-5)


def test_weights_count_as_repeats():
    blocks, t = sources(3, ["a", "c", "noise"], n=300)
    w = np.random.default_rng(0).integers(0, 3, 300)
    one = chosen(blocks, t, w)
    two = chosen({name: block.repeat(w, 0) for name, block in blocks.items()}, t.repeat(w, 0))
    assert [step.block for step in one.steps] == [step.block for step in two.steps]
    assert one.steps[-1].evidence == pytest.approx(two.steps[-1].evidence, abs=1e-9)


def test_constant_features_and_absent_classes_change_nothing():
    blocks, t = sources(4, ["a", "c"], n=300)
    one = chosen(blocks, t)
    padded = {name: np.pad(block, ((0, 0), (0, 3)), constant_values=7.1) for name, block in blocks.items()}
    two = chosen({**padded, "dead": np.zeros((300, 4))}, np.pad(t, ((0, 0), (0, 2))))
    assert [step.block for step in one.steps] == [step.block for step in two.steps]
    assert two.steps[-1].evidence == pytest.approx(one.steps[-1].evidence, abs=1e-9)
    assert two.rejected["dead"] == pytest.approx(0.0, abs=1e-6)


def test_regression_and_blocks_of_different_widths():
    rng = np.random.default_rng(0)
    blocks = {"wide": rng.normal(size=(200, 60)), "narrow": rng.normal(size=(200, 2)), "one": rng.normal(size=(200, 1))}
    t = 2 * blocks["narrow"] + blocks["one"] + rng.normal(size=(200, 2))
    assert [step.block for step in chosen(blocks, t).steps] == ["narrow", "one"]
    assert chosen({"wide": blocks["wide"]}, t).steps == ()


def test_no_more_blocks_than_asked_for():
    blocks, t = sources(0, ["a", "b", "c"])
    all_of_them, few = chosen(blocks, t), chosen(blocks, t, most=1)
    assert [s.block for s in few.steps] == [all_of_them.steps[0].block]
    assert few.rejected == pytest.approx(all_of_them.steps[1].gains)


def test_targets_that_the_features_give_exactly():
    blocks, t = sources(0, ["a", "b"], n=200)
    choice = chosen({**blocks, "told": t}, t)
    assert [step.block for step in choice.steps] == ["told"]
    assert np.isfinite(choice.steps[0].evidence)


def test_bad_input():
    blocks, t = sources(0, ["a", "b"], n=50)
    m = moments(np.concatenate(list(blocks.values()), 1), t)
    with pytest.raises(UsageError, match="add up to the 48 features"):
        choose_blocks(m, {"a": B, "b": B - 1})
    with pytest.raises(UsageError, match="positive"):
        choose_blocks(m, {"a": 2 * B, "b": 0})
    with pytest.raises(UsageError, match="`most` must be 1 or more"):
        choose_blocks(m, dict.fromkeys("ab", B), most=0)
    with pytest.raises(DataError, match="varies"):
        choose_blocks(moments(blocks["a"], np.ones((50, 2))), {"a": B})
    with pytest.raises(DataError, match="3 examples"):
        choose_blocks(moments(blocks["a"][:2], t[:2]), {"a": B})
