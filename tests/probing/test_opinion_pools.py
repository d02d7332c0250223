"""Weights of experts: against a grid search and least squares; who only guesses is not believed."""

import numpy as np
import pytest

from transfuse.core.errors import UsageError
from transfuse.probing.opinion_pools import pool_weights


def experts(seed: int = 0, count: int = 400) -> tuple[list[np.ndarray], np.ndarray]:
    """One that knows much, one that knows less and is far too sure, one that knows nothing."""
    random = np.random.default_rng(seed)
    y = random.integers(0, 3, count)
    truth = np.eye(3)[y]
    return [
        2 * truth + random.normal(0, 1, (count, 3)),
        20 * (truth + random.normal(0, 2, (count, 3))),
        random.normal(0, 3, (count, 3)),
    ], y


def loss(w: tuple[float, ...], logits: list[np.ndarray], y: np.ndarray) -> float:
    z = sum(weight * one for weight, one in zip(w, logits, strict=True))
    return float(np.mean(np.log(np.exp(z).sum(1)) - z[np.arange(len(y)), y]))


def test_weights_are_the_best_of_a_grid() -> None:
    logits, y = experts()
    found = pool_weights(logits, y, "single-label")
    grid = [(a, b, c) for a in np.linspace(0, 4, 41) for b in np.linspace(0, 0.1, 11) for c in np.linspace(0, 0.3, 7)]
    best = min(grid, key=lambda w: loss(w, logits, y))
    assert loss(tuple(found), logits, y) <= loss(best, logits, y) + 1e-3
    np.testing.assert_allclose(found, best, atol=0.15)
    assert (found >= 0).all() and found[2] * 3 < 0.15 * found[0] and found[1] < 0.1


def test_an_expert_against_the_truth_is_left_out() -> None:
    logits, y = experts()
    assert pool_weights([logits[0], -logits[0]], y, "single-label")[1] < 0.02 * 2


def test_labels_and_values() -> None:
    random = np.random.default_rng(1)
    labels = (random.random((300, 2)) < 0.5).astype(np.float32)
    good, bad = 4 * (labels - 0.5) + random.normal(0, 1, (300, 2)), random.normal(0, 1, (300, 2))
    found = pool_weights([good, bad], labels, "multi-label")
    assert found[0] > 1 and found[1] < 0.4
    values = random.normal(0, 1, (300, 1))
    parts = [values + random.normal(0, 1, (300, 1)) - 0.0, values + random.normal(0, 2, (300, 1))]
    found = pool_weights(parts, values, "regression")
    x = np.hstack(parts)
    np.testing.assert_allclose(found, np.linalg.lstsq(x, (values - values.mean(0)).ravel())[0], atol=1e-8)


def test_a_heavy_example_counts_as_several() -> None:
    logits, y = experts(count=60)
    weights = np.ones(60)
    weights[:20] = 3
    several = [np.concatenate([one, one[:20], one[:20]]) for one in logits]
    expected = pool_weights(several, np.concatenate([y, y[:20], y[:20]]), "single-label")
    scale = np.array([one.std() for one in logits])
    np.testing.assert_allclose(pool_weights(logits, y, "single-label", weights) * scale, expected * scale, atol=0.02)


def test_experts_must_answer_the_same() -> None:
    with pytest.raises(UsageError, match="all of one shape"):
        pool_weights([np.zeros((3, 2)), np.zeros((4, 2))], np.zeros(3, int), "single-label")
