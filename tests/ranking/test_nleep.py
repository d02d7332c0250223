"""N-LEEP: order, seeds, and features without variance."""

import numpy as np
import pytest

from transfuse.core.errors import DataError, UsageError
from transfuse.ranking.nleep import nleep


def clusters(spread, n=150, d=40, c=4, seed=0):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % c
    return rng.normal(size=(c, d))[y] * spread + rng.normal(size=(n, d)), y


def test_better_features_score_higher():
    scores = [nleep(*clusters(spread)) for spread in (0.0, 0.7, 3.0)]
    assert scores == sorted(scores) and scores[-1] == pytest.approx(0.0, abs=0.05)


def test_the_seed_decides_alone():
    x, y = clusters(0.7)
    state = np.random.get_state()[1].copy()
    assert nleep(x, y, seed=3) == nleep(x, y, seed=3) != nleep(x, y, seed=4)
    assert (np.random.get_state()[1] == state).all()


def test_features_that_do_not_vary_are_chance():
    y = np.arange(40) % 4
    for x in (np.zeros((40, 3)), np.full((40, 3), 1e6)):
        assert nleep(x, y) == pytest.approx(np.log(1 / 4), abs=1e-6)


def test_units_do_not_matter_much_and_many_rows_are_cut():
    x, y = clusters(1.0, n=300)
    assert nleep(x * 100, y) == pytest.approx(nleep(x, y), abs=0.02)
    x, y = clusters(1.0, n=2400)
    assert nleep(x, y) == nleep(x[:2000], y[:2000])


def test_two_examples_are_enough_and_one_is_not():
    assert nleep(np.array([[0.0], [1.0]]), np.array([0, 1])) == pytest.approx(np.log(0.5))
    with pytest.raises(DataError, match="at least 2"):
        nleep(np.zeros((1, 3)), np.array([0]))
    with pytest.raises(UsageError, match="`ratio`"):
        nleep(np.zeros((4, 3)), np.zeros(4, int), ratio=0)
