"""The line between two sets of weights."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from transfuse.core.errors import WeightsError
from transfuse.weights.interpolating import interpolate


def test_a_value_by_hand() -> None:
    a, b = {"w": torch.tensor([1.0, 10.0])}, {"w": torch.tensor([3.0, 20.0])}
    assert interpolate(a, b, 0.25)["w"].tolist() == [1.5, 12.5]


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=5))
def test_the_ends_are_exact(values: list[float]) -> None:
    a, b = {"w": torch.tensor(values)}, {"w": torch.tensor(values[::-1]) * 3}
    assert torch.equal(interpolate(a, b, 0)["w"], a["w"])
    assert torch.equal(interpolate(a, b, 1)["w"], b["w"])


def test_half_precision_is_accumulated_in_float32() -> None:
    a, b = {"w": torch.tensor([60000.0]).half()}, {"w": torch.tensor([50000.0]).half()}
    mixed = interpolate(a, b, 0.5)["w"]
    assert mixed.dtype == torch.float16
    assert mixed.item() == 54976.0 or mixed.item() == 55008.0


def test_counters_and_new_tensors_come_from_b() -> None:
    a, b = {"n": torch.tensor(3)}, {"n": torch.tensor(8), "head": torch.ones(2)}
    mixed = interpolate(a, b, 0.5)
    assert mixed["n"].item() == 8
    assert mixed["head"].tolist() == [1, 1]
    mixed["head"].zero_()
    assert b["head"].tolist() == [1, 1]


def test_other_shapes_are_refused() -> None:
    with pytest.raises(WeightsError, match="one shape"):
        interpolate({"w": torch.zeros(2)}, {"w": torch.zeros(3)}, 0.5)


def test_what_both_have_stays_as_it_is_to_the_bit() -> None:
    """Frozen statistics would be new by a rounding, and taken for trained ones when models are fused."""
    a = {"w": torch.rand(1000, generator=torch.Generator().manual_seed(0))}
    assert torch.equal(interpolate(a, {"w": a["w"].clone()}, 0.4)["w"], a["w"])
