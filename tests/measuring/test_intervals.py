"""Intervals against textbook numbers, a naive bootstrap and their own promise of coverage."""

import math

import numpy as np
import pytest
import sklearn.metrics as reference
from scipy.stats import binomtest

from transfuse.core.errors import UnknownName, UsageError
from transfuse.measuring.intervals import interval, mcnemar, paired, wilson
from transfuse.measuring.metrics import measure
from transfuse.measuring.weighted import METRICS


def two_class(right_N):
    """Outputs that are right where told, for targets that are all zero and one by turns."""
    right_N = np.asarray(right_N, bool)
    targets = np.arange(len(right_N)) % 2
    return targets, np.eye(2)[np.where(right_N, targets, 1 - targets)]


def noisy(n=120, classes=4, seed=0, strength=1.0):
    rng = np.random.default_rng(seed)
    targets = np.random.default_rng(99).integers(0, classes, n)
    logits = rng.normal(size=(n, classes)) + strength * np.eye(classes)[targets]
    return targets, np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


REFERENCES = {
    "accuracy": lambda y, p: reference.accuracy_score(y, p.argmax(1)),
    "balanced_accuracy": lambda y, p: reference.balanced_accuracy_score(y, p.argmax(1)),
    "f1": lambda y, p: reference.f1_score(y, p.argmax(1), average="macro"),
    "auc": lambda y, p: reference.roc_auc_score(y, p, multi_class="ovr"),
    "log_loss": reference.log_loss,
}


@pytest.mark.parametrize("name", REFERENCES)
def test_weights_give_what_scikit_learn_gives_on_the_repeated_examples(name):
    y, p = noisy()
    p = np.round(p, 2) + 0.01  # equal scores too
    p /= p.sum(1, keepdims=True)
    rng = np.random.default_rng(5)
    rows = rng.integers(0, len(y), (6, len(y)))
    counts = np.stack([np.bincount(row, minlength=len(y)) for row in rows]).astype(float)
    m = METRICS["single-label"][name]
    golden = [REFERENCES[name](y[row], p[row]) for row in rows]
    assert m.value(m.evidence(y, p), counts) == pytest.approx(golden)


def test_weights_give_average_precision_and_r2_on_the_repeated_examples():
    y, p = noisy(classes=3)
    truth, rows = np.eye(3)[y], np.random.default_rng(5).integers(0, len(y), len(y))
    counts = np.bincount(rows, minlength=len(y))[None].astype(float)
    for kind, name, score in [
        ("multi-label", "average_precision", reference.average_precision_score),
        ("multi-label", "f1", lambda y, p: reference.f1_score(y, p > 0.5, average="macro")),
        ("regression", "r2", reference.r2_score),
        ("regression", "rmse", reference.root_mean_squared_error),
    ]:
        m = METRICS[kind][name]
        assert m.value(m.evidence(truth, p), counts) == pytest.approx([score(truth[rows], p[rows])])


def test_an_interval_equals_a_naive_bootstrap():
    y, p = noisy()
    found = interval("single-label", "log_loss", y, p, resamples=4000)
    loss, rng = -np.log(p[np.arange(len(y)), y]), np.random.default_rng(5)
    golden = np.quantile(loss[rng.integers(0, len(y), (4000, len(y)))].mean(1), [0.025, 0.975])
    assert [found["low"], found["high"]] == pytest.approx(golden, abs=0.01)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind in METRICS for name in METRICS[kind]])
def test_every_metric_has_an_interval_around_its_value_and_a_pair(kind, name):
    rng = np.random.default_rng(3)
    y, p = noisy(n=60, classes=3)
    targets = y if kind == "single-label" else np.eye(3)[y] + (rng.normal(size=(60, 3)) if kind == "regression" else 0)
    found = interval(kind, name, targets, p, resamples=300)
    assert found["value"] == pytest.approx(measure(kind, targets, p)[name])
    assert found["low"] <= found["value"] <= found["high"] and found["low"] < found["high"]
    other = np.roll(p, 1, axis=0)
    pair = paired(kind, name, targets, p, other, resamples=300)
    swapped = paired(kind, name, targets, other, p, resamples=300)
    assert pair["low"] <= pair["value"] <= pair["high"]
    assert swapped["value"] == pytest.approx(-pair["value"])


def test_ninety_five_percent_of_intervals_hold_the_truth():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(400):
        y, p = two_class(rng.random(100) < 0.8)
        found = interval("single-label", "accuracy", y, p)
        held += found["low"] <= 0.8 <= found["high"]
    assert 0.91 <= held / 400 <= 0.985


def test_wilson_equals_scipy():
    for right, n in [(0, 10), (10, 10), (37, 40), (1, 1)]:
        golden = binomtest(right, n).proportion_ci(0.95, method="wilson")
        assert wilson(right / n, n) == pytest.approx((golden.low, golden.high), abs=1e-12)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_nothing_wrong_in_the_sample_is_no_proof_of_perfection(share):
    y, p = two_class(np.full(400, share))
    found = interval("single-label", "accuracy", y, p)
    golden = binomtest(int(400 * share), 400).proportion_ci(0.95, method="wilson")
    assert (found["low"], found["high"]) == pytest.approx((golden.low, golden.high))


def test_a_perfect_macro_average_is_as_sure_as_its_rarest_class():
    y = np.array([0] * 390 + [1] * 10)
    found = interval("single-label", "balanced_accuracy", y, np.eye(2)[y])
    assert (found["low"], found["high"]) == pytest.approx(wilson(1.0, 20))


def test_one_example():
    found = interval("single-label", "accuracy", [0], np.array([[0.9, 0.1]]))
    assert found == pytest.approx({"value": 1.0, "low": 0.2065, "high": 1.0, "n": 1}, abs=1e-3)
    pair = paired("single-label", "accuracy", [0], np.array([[0.9, 0.1]]), np.array([[0.1, 0.9]]))
    assert pair["value"] == 1.0 and pair["low"] < 0


def test_undefined_metrics_are_nan():
    p = np.array([[0.9, 0.1], [0.8, 0.2]])
    found = interval("single-label", "auc", [0, 0], p)
    assert math.isnan(found["value"]) and math.isnan(found["low"]) and found["n"] == 2
    assert math.isnan(paired("single-label", "auc", [0, 0], p, p)["probability_better"])
    assert math.isnan(interval("single-label", "accuracy", np.zeros(0, int), np.zeros((0, 2)))["value"])


def test_resamples_without_the_rare_class_are_left_out():
    y = np.array([0] * 11 + [1])
    found = interval("single-label", "auc", y, np.random.default_rng(0).dirichlet([1, 1], 12))
    assert not math.isnan(found["low"])


def test_groups_widen_the_interval_of_examples_that_go_together():
    rng = np.random.default_rng(0)
    right = np.repeat(rng.random(20) < 0.7, 10)
    y, p = two_class(right)
    groups = [f"patient {i // 10}" for i in range(200)]
    alone, together = (interval("single-label", "accuracy", y, p, groups=g, resamples=4000) for g in (None, groups))
    ratio = (together["high"] - together["low"]) / (alone["high"] - alone["low"])
    assert ratio == pytest.approx(math.sqrt(10), rel=0.15)
    every = interval("single-label", "accuracy", y, p, groups=range(200), resamples=4000)
    assert every["low"] == pytest.approx(alone["low"], abs=0.01)


def test_a_paired_difference_of_groups_and_of_losses():
    y, better = noisy(strength=3.0, seed=1)
    _, worse = noisy(strength=0.3, seed=2)
    pair = paired("single-label", "log_loss", y, better, worse, groups=np.arange(120) // 4)
    assert pair["value"] == pytest.approx(reference.log_loss(y, worse) - reference.log_loss(y, better))
    assert pair["low"] > 0 and pair["probability_better"] == 1.0 and pair["p_value"] < 0.01


def test_pairing_sees_what_two_intervals_hide():
    right = np.arange(400) < 340
    y, a = two_class(right | (np.arange(400) >= 385))
    _, b = two_class(right)
    pair = paired("single-label", "accuracy", y, a, b)
    assert pair["value"] == pytest.approx(0.0375) and pair["low"] > 0.015
    assert pair["p_value"] == pytest.approx(binomtest(15, 15).pvalue)
    assert interval("single-label", "accuracy", y, a)["low"] < interval("single-label", "accuracy", y, b)["high"]


def test_a_handful_of_differing_examples_proves_nothing():
    y, a = two_class(np.ones(400))
    _, b = two_class(np.arange(400) >= 4)
    pair = paired("single-label", "accuracy", y, a, b, resamples=20_000)
    assert pair["low"] <= 0 < pair["value"]
    assert pair["p_value"] == pytest.approx(0.125)


def test_a_model_compared_with_itself():
    y, p = noisy()
    pair = paired("single-label", "accuracy", y, p, p)
    assert pair["value"] == 0 and pair["low"] < 0 < pair["high"] and pair["p_value"] == 1.0
    assert paired("single-label", "log_loss", y, p, p)["probability_better"] == 0.5


def test_mcnemar_equals_scipy():
    for a, b in [(0, 0), (1, 5), (10, 10), (30, 12)]:
        assert mcnemar(a, b) == pytest.approx(binomtest(a, a + b).pvalue if a + b else 1.0)


def test_seed_decides_and_nothing_else():
    y, p = noisy()
    assert interval("single-label", "auc", y, p, seed=1) == interval("single-label", "auc", y, p, seed=1)
    assert interval("single-label", "auc", y, p, seed=1) != interval("single-label", "auc", y, p, seed=2)


def test_arguments_are_explained():
    y, p = noisy()
    with pytest.raises(UsageError, match="`level` must lie"):
        interval("single-label", "accuracy", y, p, level=95)
    with pytest.raises(UsageError, match="`resamples` must be"):
        interval("single-label", "accuracy", y, p, resamples=1)
    with pytest.raises(UsageError, match="each of the 120 examples, but holds 3"):
        interval("single-label", "accuracy", y, p, groups=["a", "b", "c"])
    with pytest.raises(UnknownName, match="Did you mean 'accuracy'"):
        interval("single-label", "acuracy", y, p)
