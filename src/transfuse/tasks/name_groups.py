"""Groups that nobody named: what the names of files say about how the test split was made.

Where `2_jackson_42.wav` is to be learnt from and `2_theo_30.wav` to be answered, the test split asks for voices that
were never heard, and answers about the same voices flatter. A word at one place in the names is such a group when the
splits share none of its values, when it takes few values, and when it is no other name of the label.
Letters: N examples.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_WORDS = re.compile(r"[_\-. ]+")
_FEWEST = 8  # examples of a value on average, below which names are taken for numbers of their own


@dataclass(frozen=True, kw_only=True)
class Parted:
    """A word in the names of files that parts the training split from the test split."""

    groups: tuple[str, ...]
    """N: its value for each training example."""
    known: tuple[str, ...]
    """Values in the training split."""
    asked: tuple[str, ...]
    """Values in the test split, none of them known."""

    @property
    def words(self) -> str:
        """Which values lie where, for a sentence."""
        return f"{_some(self.known)} in the training split, {_some(self.asked)} in the test split"


def parted(names: Mapping[str, Sequence[Any]], labels_N: np.ndarray) -> Parted | None:
    """The group in the names of files by split, if there is one; the first place in the names at which there is.

    names: paths by split, None for what is missing. labels_N: classes of the training examples, or their values.
    """
    if "test" not in names:
        return None
    words = {split: [_words(name) for name in names[split]] for split in ("train", "test")}
    lengths = {len(one) for split in words.values() for one in split if one}
    if len(lengths) != 1:
        return None
    for place in range(lengths.pop()):
        train, test = ([one[place] if one else "" for one in words[split]] for split in ("train", "test"))
        if _parts(train, test, labels_N):
            return Parted(
                groups=tuple(train), known=tuple(sorted({*train} - {""})), asked=tuple(sorted({*test} - {""}))
            )
    return None


def _words(name: Any) -> list[str]:
    return [] if name is None else [word for word in _WORDS.split(Path(str(name)).stem) if word]


def _parts(train: Sequence[str], test: Sequence[str], labels_N: np.ndarray) -> bool:
    known, asked = {*train} - {""}, {*test} - {""}
    if known & asked or len(known) < 2 or not asked or len(known) * _FEWEST > len(train):
        return False
    if any(value.isdigit() for value in known | asked):  # numbers count files
        return False
    labels = [str(label) for label in np.asarray(labels_N).tolist()]
    pairs = {pair for pair in zip(train, labels, strict=True) if pair[0]}
    return len(pairs) > max(len(known), len(set(labels)))  # else the word is the label, or stands for it


def _some(values: Sequence[str]) -> str:
    listed = ", ".join(f"'{value}'" for value in values[:4])
    return listed + (f" and {len(values) - 4} more" if len(values) > 4 else "")
