"""Fit refuses values out of range, in words."""

import pytest

from transfuse.core.errors import UsageError
from transfuse.training.options import Fit, default_steps


@pytest.mark.parametrize(
    "wrong",
    [{"steps": -1}, {"batch_size": 0}, {"warm_up": 1.0}, {"average": 1.5}, {"momentum": -0.1}, {"accumulate": 64}],
)
def test_out_of_range(wrong):
    (name,) = wrong
    with pytest.raises(UsageError, match=f"`{name}` must be"):
        Fit(**wrong)


def test_steps_grow_slower_than_examples():
    assert [default_steps(n) for n in (100, 500, 2000, 10**9)] == [300, 300, 600, 10_000]
    assert [default_steps(n, random=True) for n in (100, 2000)] == [900, 1800]
