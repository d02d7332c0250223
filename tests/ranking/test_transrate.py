"""TransRate: the formula written out, both Gram matrices, and what is refused."""

import numpy as np
import pytest

from transfuse.core.errors import DataError, UsageError
from transfuse.ranking.transrate import transrate


@pytest.mark.parametrize("d", [3, 60])
def test_it_is_the_formula_written_out(d):
    rng = np.random.default_rng(d)
    y = np.arange(40) % 4
    x = rng.normal(size=(4, d))[y] + rng.normal(size=(40, d))
    z = x - x.mean(0)

    def rate(part):
        return 0.5 * np.linalg.slogdet(np.eye(d) + part.T @ part / (len(part) * 1e-2))[1]

    written = rate(z) - np.mean([rate(z[y == c]) for c in range(4)])
    assert transrate(x, y, eps=1e-2) == pytest.approx(written, rel=1e-9)


def test_classes_without_an_example_and_far_features_change_nothing():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 5)), np.arange(30) % 3
    assert transrate(x, y * 7) == pytest.approx(transrate(x, y))
    assert transrate(x + 1e5, y) == pytest.approx(transrate(x, y), rel=1e-6)


def test_features_that_do_not_vary_say_nothing():
    assert transrate(np.ones((10, 4)), np.arange(10) % 2) == pytest.approx(0.0, abs=1e-9)


def test_what_is_refused():
    x, y = np.ones((10, 4)), np.arange(10) % 2
    with pytest.raises(UsageError, match="`eps`"):
        transrate(x, y, eps=0)
    with pytest.raises(UsageError, match=r"\(9,\)"):
        transrate(x, y[:9])
    with pytest.raises(DataError, match="at least one"):
        transrate(x[:0], y[:0])
