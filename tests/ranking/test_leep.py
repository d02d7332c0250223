"""LEEP: what follows from its definition, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transfuse.core.errors import DataError, UsageError
from transfuse.ranking.leep import leep


def drawn(seed, n, c, z):
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(z), n)
    return p, rng.integers(0, c, n)


@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(1, 5), st.integers(1, 6))
def test_it_lies_between_chance_and_certainty_and_ignores_names(seed, n, c, z):
    p, y = drawn(seed, n, c, z)
    score = leep(p, y)
    assert score <= 1e-12
    rng = np.random.default_rng(seed)
    renamed = rng.permutation(c)[y]
    assert leep(p[:, rng.permutation(z)], renamed) == pytest.approx(score, rel=1e-9, abs=1e-12)


def test_it_is_the_sum_of_the_paper_written_out():
    p, y = drawn(0, 12, 3, 4)
    total = 0.0
    for i in range(12):
        total += np.log(sum(p[y == y[i], z].sum() / p[:, z].sum() * p[i, z] for z in range(4)))
    assert leep(p, y) == pytest.approx(total / 12)


def test_a_source_that_answers_the_new_classes_is_certain_and_one_that_says_nothing_is_chance():
    y = np.arange(30) % 3
    assert leep(np.eye(3)[y], y) == pytest.approx(0.0, abs=1e-12)
    assert leep(np.full((30, 4), 0.25), y) == pytest.approx(np.log(1 / 3))


def test_a_class_of_the_source_that_nobody_has_changes_nothing():
    p, y = drawn(1, 20, 3, 4)
    assert leep(np.concatenate([p, np.zeros((20, 2))], axis=1), y) == pytest.approx(leep(p, y))


def test_what_is_no_probability_is_refused():
    p, y = drawn(2, 10, 2, 3)
    with pytest.raises(UsageError, match="softmax"):
        leep(p * 5 - 1, y)
    with pytest.raises(UsageError, match="softmax"):
        leep(np.where(np.arange(3) == 0, np.nan, p), y)
    with pytest.raises(UsageError, match=r"\(10, 3\)"):
        leep(p, y[:5])
    with pytest.raises(DataError, match="at least one"):
        leep(p[:0], y[:0])
