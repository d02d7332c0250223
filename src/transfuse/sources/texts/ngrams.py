"""Texts as ids of their words, pairs of words, and runs of 2 to 5 characters within words; no file of a tokenizer.

The terms of scikit-learn's tf-idf with `analyzer="word"` and `"char_wb"`, without punctuation, hashed to 30 bits
(Weinberger et al., "Feature Hashing", arXiv 0902.2206): a polynomial over the code points, mixed as in MurmurHash3. The
same text has the same ids on every machine. Words and pairs have ids below 2^30, runs of characters from there on.
Letters: T terms, W words.
"""

import re

import numpy as np

from transfuse.core.digests import of_value

NAME = "builtin:ngrams"
"""Stands in a preprocessing where the path of a tokenizer would."""
RULES = "words 1-2, characters 2-5 in words, lower case, 30 bits, 1"
"""What ids depend on; another number when that changes."""
DIGEST = of_value(RULES)
CHARACTERS = 1 << 30
"""The first id of runs of characters."""
_WORD = re.compile(r"\w+")
_LENGTHS = (2, 3, 4, 5)
_BASE = np.uint64(0x9E3779B97F4A7C15)
_SPACE = ord(" ")


def ids_of(text: str) -> np.ndarray:
    """int32 (T,): the ids of all terms of a text, each as often as it stands there; one 0 for a text without words."""
    words = _WORD.findall(text.lower())
    if not words:
        return np.zeros(1, np.int32)
    return np.concatenate([_words(words), *_characters(words)]).astype(np.int32)


def _words(words: list[str]) -> np.ndarray:
    """Of W words and the W - 1 pairs of neighbours."""
    points = _points("".join(words))
    starts = np.cumsum([0, *(len(word) for word in words[:-1])])
    place = np.arange(len(points)) - np.repeat(starts, [len(word) for word in words])
    with np.errstate(over="ignore"):
        hashed_W = np.add.reduceat((points + np.uint64(1)) * _powers(int(place.max()) + 1)[place], starts)
        pairs = (hashed_W[:-1] ^ (hashed_W[:-1] >> np.uint64(29))) * _BASE + hashed_W[1:]
    return np.concatenate([_mixed(hashed_W), _mixed(pairs + np.uint64(1))]) % CHARACTERS


def _characters(words: list[str]) -> list[np.ndarray]:
    """Of runs inside " word ", the spaces at its ends included; a run never spans two words."""
    points = _points(f" {' '.join(words)} ")
    spaces = np.concatenate([[0], np.cumsum(points == _SPACE)])
    found = []
    for length in (n for n in _LENGTHS if n <= len(points)):
        windows = np.lib.stride_tricks.sliding_window_view(points, length)
        inner = spaces[length - 1 : len(points)] - spaces[1 : len(points) - length + 2]
        with np.errstate(over="ignore"):
            hashed = (windows[inner == 0] * _powers(length)).sum(1) + np.uint64(length)
        found.append(_mixed(hashed) % CHARACTERS + CHARACTERS)
    return found


def _points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "replace"), "<u4").astype(np.uint64)


def _powers(count: int) -> np.ndarray:
    return np.cumprod(np.full(count, _BASE))


def _mixed(hashed: np.ndarray) -> np.ndarray:
    """The finalizer of MurmurHash3, by which every bit depends on all; int64, not negative."""
    for factor in (np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)):
        hashed = (hashed ^ (hashed >> np.uint64(33))) * factor
    return ((hashed ^ (hashed >> np.uint64(33))) >> np.uint64(1)).astype(np.int64)
