"""Metrics against scikit-learn (an independent reference) and against numbers worked out by hand."""

import math

import numpy as np
import pytest
import sklearn.metrics as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from transfuse.core.errors import UnknownName, UsageError
from transfuse.measuring.metrics import PRIMARY, confusion, higher_is_better, measure, per_class, reliability
from transfuse.measuring.weighted import METRICS


def single_label(n=300, classes=5, seed=0, rounded=False):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, classes, n)
    logits = rng.normal(size=(n, classes)) + 1.5 * np.eye(classes)[targets]
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    if rounded:  # many equal scores
        p = np.round(p, 1) + 1e-3
        p /= p.sum(1, keepdims=True)
    return targets, p


def multi_label(n=200, labels=4, seed=0):
    rng = np.random.default_rng(seed)
    targets = (rng.random((n, labels)) < 0.3).astype(np.float32)
    return targets, np.round(1 / (1 + np.exp(-(rng.normal(size=(n, labels)) + 2 * targets - 1))), 2)


@pytest.mark.parametrize("rounded", [False, True])
def test_single_label_metrics_equal_scikit_learn(rounded):
    y, p = single_label(rounded=rounded)
    answer = p.argmax(1)
    golden = {
        "accuracy": reference.accuracy_score(y, answer),
        "balanced_accuracy": reference.balanced_accuracy_score(y, answer),
        "f1": reference.f1_score(y, answer, average="macro"),
        "auc": reference.roc_auc_score(y, p, multi_class="ovr"),
        "log_loss": reference.log_loss(y, p),
    }
    measured = measure("single-label", y, p)
    assert {name: measured[name] for name in golden} == pytest.approx(golden, abs=1e-12)


def test_two_classes_have_the_binary_auc():
    y, p = single_label(classes=2)
    assert measure("single-label", y, p)["auc"] == pytest.approx(reference.roc_auc_score(y, p[:, 1]))


def test_multi_label_metrics_equal_scikit_learn():
    y, p = multi_label()
    answer = (p > 0.5).astype(float)
    golden = {
        "accuracy": 1 - reference.hamming_loss(y, answer),
        "exact_match": reference.accuracy_score(y, answer),
        "f1": reference.f1_score(y, answer, average="macro"),
        "auc": reference.roc_auc_score(y, p, average="macro"),
        "average_precision": reference.average_precision_score(y, p, average="macro"),
        "log_loss": np.mean([reference.log_loss(y[:, c], p[:, c]) for c in range(y.shape[1])]),
    }
    measured = measure("multi-label", y, p)
    assert {name: measured[name] for name in golden} == pytest.approx(golden, abs=1e-7)


def test_regression_metrics_equal_scikit_learn():
    rng = np.random.default_rng(1)
    y = rng.normal(size=(80, 3)) * [1, 10, 100] + [5, 0, -1000]
    values = y + rng.normal(size=y.shape)
    assert measure("regression", y, values) == pytest.approx(
        {
            "r2": reference.r2_score(y, values),
            "mae": reference.mean_absolute_error(y, values),
            "rmse": reference.root_mean_squared_error(y, values),
        }
    )


def test_calibration_error_by_hand():
    # confidences 0.95, 0.95 (one right) and 0.65 (right): 2/3·|0.95-0.5| + 1/3·|0.65-1|
    p = np.array([[0.95, 0.05], [0.95, 0.05], [0.35, 0.65]])
    assert measure("single-label", [0, 1, 1], p)["calibration_error"] == pytest.approx(2 / 3 * 0.45 + 1 / 3 * 0.35)


def test_reliability_bins_add_up_to_the_calibration_error():
    for kind, (y, p) in {"single-label": single_label(), "multi-label": multi_label()}.items():
        rows = reliability(kind, y, p)
        total = sum(row["n"] for row in rows)
        error = sum(row["n"] * abs(row["confidence"] - row["accuracy"]) for row in rows) / total
        assert error == pytest.approx(measure(kind, y, p)["calibration_error"])
        assert total == (len(y) if kind == "single-label" else y.size)


def test_reliability_of_values_is_refused():
    with pytest.raises(UsageError, match="probabilities"):
        reliability("regression", np.zeros((2, 1)), np.zeros((2, 1)))


def test_confusion_equals_scikit_learn_and_keeps_absent_classes():
    y, p = single_label(classes=4)
    y = np.where(y == 3, 0, y)
    assert np.array_equal(confusion(y, p, 4), reference.confusion_matrix(y, p.argmax(1), labels=range(4)))


def test_per_class_rows_equal_scikit_learn():
    y, p = single_label()
    rows = per_class("single-label", y, p, list("abcde"))
    golden = reference.precision_recall_fscore_support(y, p.argmax(1))
    for key, values in zip(("precision", "recall", "f1", "n"), golden, strict=True):
        assert [row[key] for row in rows] == pytest.approx(list(values))
    assert [row["auc"] for row in rows] == pytest.approx([reference.roc_auc_score(y == c, p[:, c]) for c in range(5)])
    assert [row["class"] for row in rows] == list("abcde")


def test_per_class_rows_of_labels_and_columns():
    y, p = multi_label()
    golden = reference.precision_recall_fscore_support(y, p > 0.5)
    assert [row["recall"] for row in per_class("multi-label", y, p, list("abcd"))] == pytest.approx(list(golden[1]))
    rows = per_class("regression", np.array([[0.0, 1], [2, 3]]), np.array([[0.0, 2], [2, 4]]), ["x", "y"])
    assert rows[0] == {"class": "x", "n": 2, "r2": 1.0, "mae": 0.0, "rmse": 0.0}
    assert rows[1]["mae"] == rows[1]["rmse"] == 1.0


def test_one_class_splits_are_undefined_where_they_are_and_warn_nothing():
    p = np.array([[0.9, 0.1], [0.2, 0.8]])
    measured = measure("single-label", [0, 0], p)
    assert math.isnan(measured["auc"])
    assert measured["accuracy"] == measured["balanced_accuracy"] == 0.5
    assert math.isnan(measure("regression", np.ones((3, 1)), np.zeros((3, 1)))["r2"])
    labels = measure("multi-label", np.zeros((2, 2)), p)
    assert math.isnan(labels["average_precision"]) and math.isnan(labels["auc"])


def test_a_class_absent_from_the_targets_is_left_out_of_averages():
    y, p = single_label(classes=4)
    y = np.where(y == 3, 0, y)
    present = [reference.roc_auc_score(y == c, p[:, c]) for c in range(3)]
    assert measure("single-label", y, p)["auc"] == pytest.approx(np.mean(present))
    assert math.isnan(per_class("single-label", y, p, list("abcd"))[3]["recall"])


@pytest.mark.parametrize("kind", METRICS)
def test_no_examples_give_nan(kind):
    targets = np.zeros(0, int) if kind == "single-label" else np.zeros((0, 3))
    assert all(math.isnan(value) for value in measure(kind, targets, np.zeros((0, 3))).values())


def test_an_output_that_is_not_a_number_is_never_right():
    p = np.array([[np.nan, 0.5], [0.1, 0.9]])
    measured = measure("single-label", [0, 1], p)
    assert measured["accuracy"] == 0.5
    assert math.isnan(measured["log_loss"]) and math.isnan(measured["auc"])
    assert confusion([0, 1], p, 2).tolist() == [[0, 0], [0, 1]]


def test_certainty_in_the_wrong_answer_has_a_finite_log_loss():
    assert math.isfinite(measure("single-label", [0], np.array([[0.0, 1.0]], np.float32))["log_loss"])


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 30), st.integers(2, 6), st.integers(0, 10_000))
def test_single_label_metrics_stay_in_their_range(n, classes, seed):
    y, p = single_label(n, classes, seed, rounded=seed % 2 == 0)
    measured = measure("single-label", y, p)
    for name in ("accuracy", "balanced_accuracy", "f1", "auc", "calibration_error"):
        assert math.isnan(measured[name]) or -1e-12 <= measured[name] <= 1 + 1e-12
    assert confusion(y, p, classes).sum() == n


def test_shapes_that_do_not_fit_are_explained():
    with pytest.raises(UsageError, match=r"targets must be \(N,\)"):
        measure("single-label", [0, 1], np.zeros((3, 2)))
    with pytest.raises(UsageError, match=r"class indices in 0\.\.1"):
        measure("single-label", [0, 2], np.zeros((2, 2)))
    with pytest.raises(UnknownName, match="Did you mean 'single-label'"):
        measure("single", [0], np.zeros((1, 2)))


def test_every_kind_has_a_primary_metric_and_directions_are_known():
    assert all(name in METRICS[kind] for kind, name in PRIMARY.items()) and PRIMARY.keys() == METRICS.keys()
    assert higher_is_better("accuracy") and not higher_is_better("rmse") and not higher_is_better("log_loss")
    with pytest.raises(UnknownName, match="Did you mean 'accuracy'"):
        higher_is_better("acuracy")
