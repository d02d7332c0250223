"""What may be searched: ranges, conditions, grids."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transfuse.core.errors import UnknownName, UsageError
from transfuse.searching.space import Choice, Real, Whole, check_options, check_space, choose, grid

SPACE = {
    "optimizer": Choice(values=("adamw", "sgd")),
    "rate": Real(low=1e-4, high=1e-1, log=True),
    "momentum": Real(low=0.5, high=0.9, when={"optimizer": ("sgd",)}),
    "head": Choice(values=("linear", "mlp")),
    "hidden": Whole(low=8, high=512, log=True, when={"head": ("mlp",)}),
    "activation": Choice(values=("relu", "gelu"), when={"head": ("mlp",)}),
}


def test_a_grid_is_every_combination_that_applies():
    found = grid(SPACE, {"rate": 4, "momentum": 3, "hidden": 2})
    optimizers = 1 + 3
    heads = 1 + 2 * 2
    assert len(found) == optimizers * 4 * heads
    assert len({tuple(options.items()) for options in found}) == len(found)
    assert all(("momentum" in options) == (options["optimizer"] == "sgd") for options in found)
    assert all(("activation" in options) == (options["head"] == "mlp") for options in found)
    assert sorted({options["rate"] for options in found}) == pytest.approx([1e-4, 1e-3, 1e-2, 1e-1])
    assert {options.get("hidden") for options in found} == {None, 8, 512}
    for options in found:
        check_options(SPACE, options)


def test_a_plain_grid_is_the_cartesian_product():
    space = {"a": Choice(values=(1, None, "x")), "b": Real(low=-1, high=1)}
    expected = [{"a": a, "b": b} for a, b in itertools.product((1, None, "x"), (-1.0, 0.0, 1.0))]
    assert grid(space, 3) == expected


@given(low=st.floats(1e-6, 1e3), ratio=st.floats(1, 1e6), count=st.integers(1, 9), log=st.booleans())
def test_points_lie_in_the_range_in_order(low: float, ratio: float, count: int, log: bool):
    space = {"x": Real(low=low, high=low * ratio, log=log)}
    values = [options["x"] for options in grid(space, count)]
    assert values == sorted(values) and 1 <= len(values) <= count
    assert low <= values[0] and values[-1] <= low * ratio
    if count > 1:
        assert values[0] == pytest.approx(low, rel=1e-9) and values[-1] == pytest.approx(low * ratio, rel=1e-9)


def test_one_point_is_the_middle():
    assert grid({"x": Real(low=1e-3, high=1e-1, log=True)}, 1)[0]["x"] == pytest.approx(1e-2)
    assert grid({"x": Whole(low=1, high=5)}, 1) == [{"x": 3}]


def test_whole_numbers_that_fall_together_count_once():
    assert [options["x"] for options in grid({"x": Whole(low=1, high=3)}, 9)] == [1, 2, 3]


def test_what_depends_on_an_absent_option_is_absent():
    space = {**SPACE, "slope": Real(low=0, high=1, when={"activation": ("relu",)})}
    picked = choose(space, lambda name, dimension: "linear" if name == "head" else grid({name: dimension}, 1)[0][name])
    assert list(picked) == ["optimizer", "rate", "head"]


@pytest.mark.parametrize(
    "space",
    [
        {},
        {"x": Choice(values=())},
        {"x": Choice(values=(1, True))},
        {"x": Real(low=2, high=1)},
        {"x": Real(low=0, high=1, log=True)},
        {"x": Real(low=0, high=math.inf)},
        {"x": Real(low=0, high=math.nan)},
        {"x": Whole(low=0, high=4, log=True)},
        {"x": Real(low=0, high=1, when={"y": ("a",)}), "y": Choice(values=("a", "b"))},
        {"y": Real(low=0, high=1), "x": Real(low=0, high=1, when={"y": (0.5,)})},
        {"y": Choice(values=("a", "b")), "x": Real(low=0, high=1, when={"y": ("c",)})},
        {"y": Choice(values=("a", "b")), "x": Real(low=0, high=1, when={"y": ()})},
    ],
)
def test_what_cannot_be_searched_is_refused(space: dict):
    with pytest.raises(UsageError, match="must"):
        check_space(space)


@pytest.mark.parametrize(
    "options", [{"rate": 1.0}, {"rate": "high"}, {"hidden": 8.5}, {"hidden": True}, {"optimizer": "adam"}]
)
def test_options_outside_their_range_are_refused(options: dict):
    with pytest.raises(UsageError, match="must be"):
        check_options(SPACE, options)


def test_an_unknown_option_names_the_nearest():
    with pytest.raises(UnknownName, match="Did you mean 'momentum'"):
        check_options(SPACE, {"momentun": 0.9})


def test_a_grid_needs_points():
    with pytest.raises(UsageError, match="at least 1"):
        grid(SPACE, 0)
