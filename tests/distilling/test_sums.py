"""Sums of losses as text: published weights, factors, options, and what is refused."""

import pytest

from transfuse.core.errors import UnknownName, UsageError
from transfuse.core.tables import resolve
from transfuse.distilling.losses.table import LOSSES, PUBLISHED
from transfuse.distilling.sums import parsed


@pytest.mark.parametrize(
    ("text", "meaning"),
    [
        ("kd", "0.1*labels + 0.9*kd"),
        ("kd + 0.5*at", "0.1*labels + 0.9*kd + 500*at"),
        ("kd + 0.5·at", "0.1*labels + 0.9*kd + 500*at"),
        ("at*2", "1*labels + 2000*at"),
        ("labels + 2*dist(temperature=4)", "1*labels + 4*dist(temperature=4)"),
        ("0*labels + kd(temperature=2.5) + sp", "0.9*kd(temperature=2.5) + 3000*sp"),
        ("simkd", "1*simkd"),
        ("logit_std+kd+kd", "0.1*labels + 9*logit_std + 0.9*kd + 0.9*kd"),
    ],
)
def test_a_sum_means(text, meaning):
    assert str(parsed(text)) == meaning


@pytest.mark.parametrize(
    "text", ["", "kd - at", "kd + ", "-1*kd", "kd()()", "labels", "True*kd", "kd(4)", "__import__('os')"]
)
def test_what_is_no_sum_is_refused(text):
    with pytest.raises(UsageError):
        parsed(text)


def test_unknown_names_are_told_with_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'dist'"):
        parsed("kd + dists")
    with pytest.raises(UnknownName, match="Did you mean 'temperature'"):
        parsed("kd(temprature=3)")


@pytest.mark.parametrize("text", ["kd(temperature=0)", "kd(temperature='hot')", "crd(tau=-1)"])
def test_values_that_a_loss_does_not_take(text):
    with pytest.raises(UsageError):
        parsed(text)


def test_every_loss_has_a_file_a_paper_and_a_weight():
    assert LOSSES.keys() == PUBLISHED.keys()
    for name in LOSSES:
        assert callable(resolve(LOSSES, name, "loss"))
        assert "arXiv" in __import__(LOSSES[name].split(":")[0], fromlist=["x"]).__doc__
