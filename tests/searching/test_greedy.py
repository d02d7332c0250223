"""Greedy selection keeps what helps, in order, and nothing that only ties."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from transfuse.searching.greedy import greedy


def test_a_part_that_only_ties_or_harms_is_left_out() -> None:
    kept, best = greedy([5, 0, -1, 2], 5, sum, lambda mix: mix)
    assert (kept, best) == ([5, 2], 7)


@given(st.lists(st.integers(-9, 9), min_size=1))
def test_the_mix_is_that_of_what_is_kept_and_never_worse_than_the_first_alone(parts: list[int]) -> None:
    def mixed(some: Sequence[int]) -> float:
        return sum(some) / len(some)

    kept, best = greedy(parts, float(parts[0]), mixed, abs)
    assert kept[0] == parts[0] and best == mixed(kept) and abs(best) >= abs(parts[0])
