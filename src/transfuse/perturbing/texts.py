"""Noise of texts in five severities: slips of the fingers within words, and of attention between them.

After Belinkov and Bisk, "Synthetic and natural noise both break neural machine translation", arXiv 1711.02173, and
Pruthi et al., "Combating adversarial misspellings", arXiv 1905.11268 (swap, drop, add, key), and Wei and Zou, "EDA",
arXiv 1901.11196 (words). A severity is the share of words that are hit. Spaces between words stay as they are.
"""

import itertools
import re
from collections.abc import Callable

import numpy as np

Random = np.random.Generator
SHARES = (0.05, 0.1, 0.2, 0.35, 0.5)
"""Of the words that are hit."""
_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def swapped_letters(text: str, severity: int, random: Random) -> str:
    """Two neighbouring letters of a word change places."""
    return _in_words(text, severity, random, lambda word, at: word[:at] + word[at + 1] + word[at] + word[at + 2 :])


def dropped_letters(text: str, severity: int, random: Random) -> str:
    """A letter of a word is missing."""
    return _in_words(text, severity, random, lambda word, at: word[:at] + word[at + 1 :])


def inserted_letters(text: str, severity: int, random: Random) -> str:
    """A letter too many in a word."""
    extra = iter(random.integers(0, len(_LETTERS), len(text) + 1).tolist())
    return _in_words(text, severity, random, lambda word, at: word[:at] + _LETTERS[next(extra)] + word[at:])


def wrong_keys(text: str, severity: int, random: Random) -> str:
    """The key beside the right one."""
    which = iter(random.random(len(text) + 1).tolist())

    def changed(word: str, at: int) -> str:
        return word[:at] + _beside(word[at], next(which)) + word[at + 1 :]

    return _in_words(text, severity, random, changed)


def dropped_words(text: str, severity: int, random: Random) -> str:
    """Words are missing; one always stays."""
    parts, words, hit = _hit(text, severity, random)
    for place in hit if len(hit) < len(words) else hit[1:]:
        parts[place] = ""
    return "".join(parts)


def doubled_words(text: str, severity: int, random: Random) -> str:
    """Words are said twice."""
    parts, _, hit = _hit(text, severity, random)
    for place in hit:
        parts[place] = f"{parts[place]} {parts[place]}"
    return "".join(parts)


def swapped_words(text: str, severity: int, random: Random) -> str:
    """A word and the next one change places."""
    parts, words, hit = _hit(text, severity, random)
    following = dict(itertools.pairwise(words))
    for place in hit:
        if place in following:
            parts[place], parts[following[place]] = parts[following[place]], parts[place]
    return "".join(parts)


def _in_words(text: str, severity: int, random: Random, changed: Callable[[str, int], str]) -> str:
    """Change words of at least two characters at a random place that has a right neighbour."""
    parts, _, hit = _hit(text, severity, random)
    spots = random.random(len(parts))
    for place in hit:
        if len(parts[place]) > 1:
            parts[place] = changed(parts[place], int(spots[place] * (len(parts[place]) - 1)))
    return "".join(parts)


def _hit(text: str, severity: int, random: Random) -> tuple[list[str], list[int], list[int]]:
    """Words and what stands between them; where the words are; which are hit: at least one, more with severity."""
    parts = re.split(r"(\s+)", text)
    words = [place for place, part in enumerate(parts) if part and not part.isspace()]
    count = min(len(words), max(1, round(SHARES[severity - 1] * len(words))))
    return parts, words, sorted(words[place] for place in random.permutation(len(words))[:count].tolist())


def _beside(letter: str, chance: float) -> str:
    """A neighbour on the keyboard; other characters stay."""
    row = next((row for row in _ROWS if letter.lower() in row), None)
    if row is None:
        return letter
    at = row.index(letter.lower())
    found = [row[place] for place in (at - 1, at + 1) if 0 <= place < len(row)]
    new = found[int(chance * len(found))]
    return new.upper() if letter.isupper() else new
