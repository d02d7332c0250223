"""Depths are paired by how alike they see examples."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transfuse.distilling.observing import spread
from transfuse.distilling.pairing import paired, similarity


def test_similarity_does_not_see_rotations_and_scales_and_knows_strangers():
    torch.manual_seed(0)
    x = torch.randn(50, 6, dtype=torch.float64)
    turned = 3 * x @ torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q + 1
    assert abs(similarity(x, turned) - 1) < 1e-12
    assert similarity(x, torch.randn(50, 6, dtype=torch.float64)) < 0.3
    assert similarity(x, torch.ones(50, 2)) == 0


def test_a_network_is_paired_with_itself():
    torch.manual_seed(0)
    maps = {f"layer{n}": torch.randn(20, 4, 8, 8) for n in range(6)}
    chosen = {name: maps[name] for name in ("layer1", "layer2", "layer5")}
    found = paired(chosen, maps)
    assert [(pair.student, pair.teacher) for pair in found] == [(name, name) for name in chosen]
    assert all(pair.similarity > 0.999 for pair in found)


def test_a_deep_student_of_a_shallow_teacher_gives_up_its_first_depths():
    torch.manual_seed(0)
    deep = {f"s{n}": torch.randn(8, 2, 4, 4) for n in range(4)}
    found = paired(deep, {"t0": torch.randn(8, 3, 4, 4), "t1": torch.randn(8, 3, 2, 2)})
    assert [(pair.student, pair.teacher) for pair in found] == [("s2", "t0"), ("s3", "t1")]


@given(st.integers(0, 40), st.integers(1, 12))
@settings(deadline=None)
def test_spread_is_ordered_ends_at_the_last_and_is_no_longer_than_asked(count, wanted):
    names = [f"n{place:02}" for place in range(count)]
    found = spread(names, wanted)
    assert found == sorted(set(found))
    assert len(found) == min(count, wanted)
    assert not count or found[-1] == names[-1]
