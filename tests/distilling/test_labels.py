"""Which classes are shared, and how a user says so."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from transfuse.core.errors import DataError, UsageError
from transfuse.distilling.labels import matched, read_map
from transfuse.distilling.mapped import Mapped, Rescaled


def test_equal_names_are_matched_and_a_map_wins():
    found = matched(["cat", "wolf", "poodle", "car"], ["dog", "cat", "eel"], {"wolf": "dog", "poodle": "dog"}, "t")
    assert found.known == (0, 1)
    assert found.own == ((1, 2), (0,))
    assert (found.left_out, found.lacking) == (("car",), ("eel",))


def test_maps_are_read_from_words_and_files(tmp_path):
    (tmp_path / "map.json").write_text('{"wolf": "dog"}')
    (tmp_path / "map.csv").write_text("teacher,task\npoodle,dog\nlion,cat\n")
    found = read_map([str(tmp_path / "map.json"), str(tmp_path / "map.csv"), "tiger=cat", "car="])
    assert found == {"wolf": "dog", "poodle": "dog", "lion": "cat", "tiger": "cat", "car": ""}


def test_broken_maps_are_explained(tmp_path):
    with pytest.raises(UsageError, match="TEACHER=TASK"):
        read_map(["wolf"])
    (tmp_path / "map.json").write_text("[1]")
    with pytest.raises(DataError, match="one object of strings"):
        read_map([str(tmp_path / "map.json")])
    (tmp_path / "map.csv").write_text("a,b,c\n")
    with pytest.raises(DataError, match="TEACHER,TASK"):
        read_map([str(tmp_path / "map.csv")])


@given(
    st.lists(st.integers(0, 3), min_size=5, max_size=5).filter(lambda groups: len(set(groups) - {3}) >= 2),
    st.floats(0.2, 5.0),
    st.integers(0, 1000),
)
def test_probabilities_of_joined_classes_add_up_at_the_teacher_s_temperature(groups, temperature, seed):
    z_BP = 4 * torch.randn(3, 5, generator=torch.Generator().manual_seed(seed))
    own = [[p for p, group in enumerate(groups) if group == target] for target in range(3)]
    own = [places for places in own if places]
    found = Mapped(nn.Identity(), own, "single-label", temperature)(z_BP)
    p_BP = (z_BP.double() / temperature).softmax(1)
    sums_BS = torch.stack([p_BP[:, places].sum(1) for places in own], 1)
    expected = sums_BS / sums_BS.sum(1, keepdim=True)
    torch.testing.assert_close((found.double() / temperature).softmax(1), expected, rtol=1e-4, atol=1e-5)


def test_any_of_several_labels_is_as_sure_as_the_surest():
    z_BP = torch.tensor([[1.0, -2.0, 3.0]])
    assert Mapped(nn.Identity(), [[0, 1], [2]], "multi-label", 1.0)(z_BP).tolist() == [[1.0, 3.0]]


def test_values_come_in_the_task_s_units():
    found = Rescaled(nn.Identity(), ([10.0], [2.0]), ([4.0], [8.0]))(torch.tensor([[1.0], [-1.0]]))
    assert found.tolist() == [[1.0], [0.5]]  # 12 and 8 in units of mean 4, deviation 8
