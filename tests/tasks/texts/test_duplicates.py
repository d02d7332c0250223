"""Near copies: what MinHash finds against comparing all pairs."""

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from transfuse.tasks.texts.duplicates import LIKE, exact_pairs, near_pairs
from transfuse.tasks.texts.reading import Reads, digest_of, normalised


def reads(*texts: str) -> Reads:
    return Reads(texts=texts, digests=tuple(map(digest_of, texts)))


def test_spelling_does_not_count() -> None:
    texts = reads("Hello,  World!", "hello world", "hello there", "Hello,  World!")
    assert exact_pairs(texts).tolist() == [[0, 3]]
    assert near_pairs(texts).tolist() == [[0, 1]]


def jaccard(a: str, b: str) -> float:
    sets = [{text[place : place + 5] for place in range(len(text) - 4)} for text in (a, b)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 4))
def test_all_pairs_above_the_threshold_are_found_and_no_other(seed: int, changes: int) -> None:
    chance = random.Random(seed)
    words = ["alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliet"]
    first = [chance.choice(words) for _ in range(40)]
    second = list(first)
    for _ in range(changes):
        second[chance.randrange(40)] = chance.choice(words)
    texts = [" ".join(first), " ".join(second), " ".join(chance.choice(words) for _ in range(40))]
    found = set(map(tuple, near_pairs(reads(*texts)).tolist()))
    pairs = [(0, 1), (0, 2), (1, 2)]
    assert found == {(a, b) for a, b in pairs if texts[a] != texts[b] and jaccard(texts[a], texts[b]) >= LIKE}


def test_a_changed_word_in_a_short_text_changes_everything() -> None:
    assert not len(near_pairs(reads("call me now", "call me not")))


def test_text_that_is_only_signs_is_like_nothing() -> None:
    assert normalised("?!") == "" and not len(near_pairs(reads("?!", "...")))
