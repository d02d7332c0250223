import itertools
import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as some

from transfuse.core.randomness import key

PARTS = some.lists(some.integers() | some.text(some.characters(min_codepoint=32)) | some.booleans(), max_size=5)


def test_the_value_is_that_of_blake2b():
    # printf 'int:0\x1fstr:order\x1fint:3' | b2sum -l 64
    assert key(0, "order", 3) == 0x5EF5458030538033 >> 1


@given(PARTS)
def test_a_key_is_a_seed_for_numpy_and_torch(parts):
    assert 0 <= key(*parts) < 2**63
    assert key(*parts) == key(*parts)


@given(PARTS, PARTS)
def test_other_parts_give_another_key(a, b):
    same = [(type(part), part) for part in a] == [(type(part), part) for part in b]
    assert (key(*a) == key(*b)) == same


def test_a_name_that_is_no_text_is_a_part_like_others():
    assert key("caf\udce9.png") != key("caf.png")


def test_a_number_is_not_its_text_and_order_counts():
    assert len({key(1, 2), key(2, 1), key("1", 2), key(12), key("12")}) == 5


def test_neighbouring_keys_are_spread_evenly():
    bits = [key(0, "example", n) >> 62 for n in range(4000)]
    assert abs(sum(bits) - 2000) < 4 * (4000 * 0.25) ** 0.5  # four standard deviations


def test_another_process_with_another_hash_seed_gives_the_same_key():
    code = "from transfuse.core.randomness import key; print(key(7, 'augment', 'a.png', 2))"
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True
        ).stdout
        for seed in ("1", "2")
    ]
    assert {int(output) for output in runs} == {key(7, "augment", "a.png", 2)}


def test_a_thousand_streams_do_not_meet():
    parts = itertools.product(range(10), ("order", "augment"), range(100))
    assert len({key(*part) for part in parts}) == 2000
