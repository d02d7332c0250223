import numpy as np
import pytest
from cleanlab.count import num_label_issues
from cleanlab.rank import get_label_quality_scores
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from transfuse.checking.wrong_labels import confused, suspects


def answers(y_N: np.ndarray, classes: int, sure: float, seed: int = 0) -> np.ndarray:
    """Probabilities (N, C) of a judge that usually gives the true class the most."""
    generator = np.random.default_rng(seed)
    return generator.dirichlet(np.ones(classes), len(y_N)) * (1 - sure) + sure * np.eye(classes)[y_N]


def planted(count: int = 600, classes: int = 4, share: float = 0.1, seed: int = 0):
    generator = np.random.default_rng(seed)
    true_N = np.arange(count) % classes
    wrong = generator.permutation(count)[: round(share * count)]
    given_N = true_N.copy()
    given_N[wrong] = (true_N[wrong] + generator.integers(1, classes, len(wrong))) % classes
    return true_N, given_N, wrong


def test_planted_errors_are_found_and_counted():
    true_N, given_N, wrong = planted()
    found = suspects("single-label", given_N, answers(true_N, 4, 0.6))
    assert set(found.rows_M) == set(wrong)
    assert found.share["low"] <= 0.1 <= found.share["high"] and found.share["n"] == 600
    assert found.share["value"] == pytest.approx(0.1, abs=0.01)
    assert (np.diff(found.scores_M) <= 0).all() and (found.scores_M > 0.5).all()


def test_the_confident_joint_is_that_of_the_paper():
    """Counted by hand after equations 1 to 3 of arXiv 1911.00068, two classes, calibrated to the given labels."""
    y_N = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    p_N = np.array([0.9, 0.8, 0.7, 0.1, 0.9, 0.8, 0.3, 0.2])  # of the class that is given, less the last of each
    p_NC = np.where(y_N[:, None] == np.arange(2), p_N[:, None], 1 - p_N[:, None])
    # thresholds: mean self-confidence 0.625 (class 0) and 0.55 (class 1); above them lie
    # given 0: 3 as 0, 1 as 1 (0.9); given 1: 2 as 1, 2 as 0 (0.7, 0.8); rows already sum to the counts of labels
    assert confused(y_N, p_NC) == pytest.approx(np.array([[3, 1], [2, 2]]))
    found = suspects("single-label", y_N, p_NC)
    assert found.share["value"] == pytest.approx(3 / 8)
    assert found.rows_M.tolist() == [3, 7, 6]


def test_the_count_and_the_order_are_cleanlab_s():
    """On probabilities that err too."""
    true_N, given_N, _ = planted(2000, 5, 0.15)
    p_NC = answers(true_N, 5, 0.25, seed=1)
    found = suspects("single-label", given_N, p_NC)
    count = num_label_issues(given_N, p_NC, estimation_method="off_diagonal_calibrated")
    assert found.share["value"] * 2000 == pytest.approx(count, abs=1)
    order = np.argsort(get_label_quality_scores(given_N, p_NC, method="self_confidence"), kind="stable")
    assert found.rows_M.tolist() == [row for row in order[:count] if p_NC[row].argmax() != given_N[row]]


def test_each_class_of_several_labels_is_judged_alone():
    generator = np.random.default_rng(0)
    true_NC = (generator.random((400, 3)) < 0.4).astype(np.float32)
    given_NC = true_NC.copy()
    given_NC[:20, 1] = 1 - given_NC[:20, 1]
    p_NC = 0.15 + 0.7 * true_NC + generator.uniform(-0.1, 0.1, true_NC.shape)
    found = suspects("multi-label", given_NC, p_NC)
    assert {(row, column) for row, column in zip(found.rows_M, found.columns_M, strict=True)} == {
        (row, 1) for row in range(20)
    }
    assert found.share["value"] == pytest.approx(20 / 1200, abs=0.003) and found.share["n"] == 1200


def test_numbers_far_from_what_is_predicted_are_named():
    generator = np.random.default_rng(0)
    values_NC = generator.normal(size=(300, 2))
    given_NC = values_NC + generator.normal(0, 0.1, (300, 2))
    given_NC[[3, 50], 1] += 5
    found = suspects("regression", given_NC, values_NC)
    assert list(zip(found.rows_M[:2], found.columns_M[:2], strict=True)) in ([(3, 1), (50, 1)], [(50, 1), (3, 1)])
    assert len(found) <= 4  # 3.5 deviations: 1 of 2,000 normal residuals
    assert found.share["value"] == pytest.approx(len(found) / 600)


def test_a_score_of_numbers_is_the_share_of_normal_residuals_that_are_smaller():
    residuals = np.array([-1.0, -0.5, 0.0, 0.5, 1.0, 8.0] * 10)
    found = suspects("regression", residuals[:, None], np.zeros((60, 1)))
    deviation = 1.4826 * np.median(np.abs(residuals - np.median(residuals)))
    z = (8.0 - np.median(residuals)) / deviation
    assert found.scores_M == pytest.approx(2 * norm.cdf(z) - 1)


def test_numbers_that_are_met_exactly_are_left_alone():
    assert len(suspects("regression", np.ones((20, 1)), np.ones((20, 1)))) == 0


def test_nothing_found_is_not_proven_to_be_nothing():
    true_N = np.arange(100) % 2
    found = suspects("single-label", true_N, answers(true_N, 2, 0.9))
    assert len(found) == 0 and found.share["value"] == found.share["low"] == 0
    assert found.share["high"] == pytest.approx(0.037, abs=0.001)  # Wilson, 0 of 100


def test_copies_widen_the_interval():
    true_N, given_N, _ = planted(200)
    p_NC = answers(true_N, 4, 0.6)
    rows = np.repeat(np.arange(200), 4)
    alone = suspects("single-label", given_N[rows], p_NC[rows]).share
    together = suspects("single-label", given_N[rows], p_NC[rows], groups=[str(row) for row in rows]).share
    assert together["high"] - together["low"] > 1.5 * (alone["high"] - alone["low"])


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 5), st.floats(0.05, 0.9))
def test_no_label_is_named_that_the_judge_agrees_with(seed, classes, sure):
    true_N, given_N, _ = planted(60, classes, 0.2, seed)
    p_NC = answers(true_N, classes, sure, seed)
    found = suspects("single-label", given_N, p_NC)
    assert (p_NC[found.rows_M].argmax(1) != given_N[found.rows_M]).all()
    assert 0 <= found.share["low"] <= found.share["value"] <= found.share["high"] <= 1
    assert len(set(found.rows_M.tolist())) == len(found) <= round(found.share["value"] * 60)


def test_a_class_that_is_nearly_always_there_is_not_estimated_to_be_half_wrong() -> None:
    generator = np.random.default_rng(0)
    y_N1 = (np.arange(400)[:, None] >= 6).astype(np.float32)  # absent in 6 of 400
    p_N1 = np.clip(0.97 + 0.01 * generator.normal(size=(400, 1)), 0, 1)  # a head that knows no more than that
    found = suspects("multi-label", y_N1, p_N1)
    assert found.share["value"] <= 6 / 400 and len(found) <= 6
