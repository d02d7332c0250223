from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as some

from transfuse.core import digests

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
PLAIN = some.recursive(
    some.none() | some.booleans() | some.integers() | some.text(),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(), inner, max_size=3),
    max_leaves=8,
)


def test_bytes_and_files_have_the_published_digest(tmp_path):
    (tmp_path / "abc").write_bytes(b"abc")
    assert digests.of_bytes(b"abc") == digests.of_file(tmp_path / "abc") == ABC
    assert digests.of_bytes(memoryview(b"abc")) == ABC


@given(some.dictionaries(some.text(), PLAIN, max_size=5))
def test_the_order_of_keys_does_not_count(value):
    assert digests.of_value(dict(reversed(value.items()))) == digests.of_value(value)


@given(PLAIN, PLAIN)
def test_other_values_have_other_digests(a, b):
    assert (digests.of_value(a) == digests.of_value(b)) == (repr(sorted_deeply(a)) == repr(sorted_deeply(b)))


def sorted_deeply(value):
    if isinstance(value, dict):
        return {name: sorted_deeply(value[name]) for name in sorted(value)}
    return [sorted_deeply(item) for item in value] if isinstance(value, list) else value


def test_the_order_of_many_counts():
    assert digests.of_many(["a", "b"]) != digests.of_many(["b", "a"])
    assert digests.of_many(["a", "b"]) != digests.of_many(["ab"])


def test_a_path_in_a_value_counts_as_its_text():
    assert digests.of_value({"p": Path("a/b")}) == digests.of_value({"p": "a/b"})


def test_a_missing_file_is_python_s_own_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        digests.of_file(tmp_path / "none")
