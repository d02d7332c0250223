"""Ids of words and runs of characters."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer

from transfuse.sources.texts.ngrams import CHARACTERS, ids_of

TEXTS = [
    "a rainy day in the old town",
    "I am",
    "x",
    "Der Hund läuft, läuft weg",
    "日本語 の テキスト",
    "aa aaa aaaa aaaaaa",
]


def test_as_many_terms_of_each_count_as_scikit_learn_finds() -> None:
    words = CountVectorizer(ngram_range=(1, 2), token_pattern=r"(?u)\w+")
    characters = CountVectorizer(analyzer="char_wb", ngram_range=(2, 5))
    for text in TEXTS:
        plain = text.replace(",", "")
        ids = ids_of(text)
        for counter, mine in ((words, ids[ids < CHARACTERS]), (characters, ids[ids >= CHARACTERS])):
            theirs = counter.fit_transform([plain]).toarray()[0]
            assert sorted(Counter(mine.tolist()).values()) == sorted(theirs.tolist())


def test_ids_of_one_term_are_the_same_everywhere() -> None:
    known = set(ids_of("old town").tolist())
    assert known & set(ids_of("town").tolist()) == set(ids_of("town").tolist())
    assert not set(ids_of("old town").tolist()) - set(ids_of("the old town").tolist())
    assert ids_of("town old").tolist() != ids_of("old town").tolist()
    assert ids_of("rain")[0] == _by_hand("rain")


def _by_hand(word: str) -> int:
    """The id of a word in plain integers: what saved models rest on."""
    base, hashed, mask = 0x9E3779B97F4A7C15, 0, 2**64 - 1
    for place, letter in enumerate(word):
        hashed += (ord(letter) + 1) * pow(base, place + 1, 2**64)
    hashed &= mask
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        hashed = (hashed ^ hashed >> 33) * factor & mask
    return ((hashed ^ hashed >> 33) >> 1) % 2**30


def test_few_terms_share_an_id() -> None:
    words = " ".join(f"w{number}" for number in range(20_000))
    ids = ids_of(words)
    assert len(np.unique(ids[ids < CHARACTERS])) >= 39_999 - 5  # of 2^30 ids, 0.7 pairs are expected to meet


@given(st.text(max_size=50))
def test_any_text_has_ids(text: str) -> None:
    ids = ids_of(text)
    assert len(ids) and ids.dtype == np.int32 and ids.min() >= 0
