"""compare: the paired difference against a hand computation, and its sentence."""

from dataclasses import replace

import numpy as np
import pytest

from transfuse.core.errors import TransfuseError, UsageError
from transfuse.core.nouns import Model, Task
from transfuse.evaluating.assessing import assess
from transfuse.evaluating.compare import compare, difference, in_words
from transfuse.predicting.predict import probabilities


def test_the_difference_is_the_mean_of_paired_hits(model: Model, worse: Model, task: Task):
    test = task.splits["test"]
    hits = [(probabilities(m, test.items).argmax(1) == test.targets).astype(float) for m in (model, worse)]
    gap_N = hits[0] - hits[1]
    gap = difference(assess(model, test), assess(worse, test))
    assert gap["value"] == pytest.approx(gap_N.mean()) == pytest.approx(6 / 24) and gap["n"] == 24
    draws = np.random.default_rng(5).integers(0, 24, (20_000, 24))
    low, high = np.quantile(gap_N[draws].mean(1), [0.025, 0.975])
    assert gap["low"] == pytest.approx(low, abs=0.045) and gap["high"] == pytest.approx(high, abs=0.045)


def test_the_report_names_the_better_one(model: Model, worse: Model, task: Task):
    report = compare(model, worse, task)
    assert [row["model"] for row in report.rows] == ["colours", "worse"]
    assert report.summary[0].startswith("colours is better than worse: +25.00 points of accuracy (95 % interval ")
    back = compare(worse, model, task)
    assert back.summary[0].startswith("worse is worse than colours: -25.00 points of accuracy")


def test_equal_models_are_not_told_apart(model: Model, task: Task):
    sentence = compare(model, replace(model, name="twin"), task).summary[0]
    assert (
        sentence.startswith("No difference between colours and twin is proven: +0.00 points") and "n = 24" in sentence
    )


def test_a_folder_is_enough(model: Model, worse: Model, folder_of):
    report = compare(model, worse, folder_of("photos", red=4, green=4, blue=4))
    assert report.rows[0]["accuracy"]["value"] == 1.0
    assert report.rows[1]["accuracy"]["value"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(
    ("metric", "gap", "verdict", "numbers"),
    [
        (
            "accuracy",
            (0.051, 0.02, 0.08),
            "a is better than b",
            "+5.10 points of accuracy (95 % interval +2.00 to +8.00",
        ),
        (
            "accuracy",
            (-0.051, -0.08, -0.02),
            "a is worse than b",
            "-5.10 points of accuracy (95 % interval -8.00 to -2.00",
        ),
        (
            "rmse",
            (0.4, -0.1, 0.9),
            "No difference between a and b is proven",
            "+0.40 of rmse (95 % interval -0.10 to +0.90",
        ),
    ],
)
def test_sentences(metric: str, gap: tuple[float, float, float], verdict: str, numbers: str):
    value, low, high = gap
    sentence = in_words("a", "b", metric, {"value": value, "low": low, "high": high, "n": 400})
    assert sentence == f"{verdict}: {numbers}, n = 400)."


def test_what_cannot_be_compared_is_refused(model: Model, task: Task):
    with pytest.raises(UsageError, match="same classes"):
        compare(model, replace(model, classes=("a", "b", "c")), task)
    shorter = replace(
        task.splits["test"], items=task.splits["test"].items[:3], targets=task.splits["test"].targets[:3],
        digests=("x", "y", "z"), names=("x", "y", "z"),
    )  # fmt: skip
    with pytest.raises(UsageError, match="same examples only"):
        difference(assess(model, task.splits["test"]), assess(model, shorter))
    with pytest.raises(TransfuseError, match="'valid'"):
        compare(model, model, task, split="valid")
    with pytest.raises(UsageError, match="violet"):
        compare(model, model, replace(task, classes=("blue", "green", "violet")))
