"""Rates against values computed by hand."""

import pytest

from transfuse.core.errors import UnknownName
from transfuse.training.schedules import rate_at


@pytest.mark.parametrize(
    ("schedule", "step", "share"),
    [
        ("cosine", 0, 0.1),
        ("cosine", 9, 1.0),
        ("cosine", 10, 1.0),
        ("cosine", 55, 0.5),
        ("cosine", 100, 0.0),
        ("linear", 55, 0.5),
        ("linear", 100, 0.0),
        ("constant", 99, 1.0),
    ],
)
def test_share_of_the_peak(schedule, step, share):
    assert rate_at(step, 100, schedule=schedule, warm_up=0.1) == pytest.approx(share, abs=1e-12)


def test_unknown_schedule_suggests_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'cosine'"):
        rate_at(0, 10, schedule="cosin", warm_up=0.0)
