"""What is known of every example without its label: features of a frozen source, words, or the cells of its row.

Letters: N examples of all splits, D features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from transfuse.core.errors import DataError
from transfuse.core.nouns import Examples, Features, Source, Task
from transfuse.core.runs import Run
from transfuse.sources.depths import spread
from transfuse.sources.extraction import features
from transfuse.sources.opening import open_source
from transfuse.sources.references import find
from transfuse.sources.sounds import suiting as sound_sources
from transfuse.sources.texts import words
from transfuse.tasks.joining import concatenated
from transfuse.tasks.opening import require_modality
from transfuse.tasks.tables.opening import columns_of
from transfuse.tasks.tables.rows import encoded_rows
from transfuse.tasks.texts.reading import text_of

DEPTHS = 4
"""Depths of the source side by side."""
DEFAULT = "builtin"
WORDS, CELLS = "tf-idf of its words", "the cells of the rows"
_WORDS, _DIRECTIONS, _TEXTS_A_DIRECTION = 50_000, 256, 5


@dataclass(frozen=True, kw_only=True)
class Everything:
    """All examples of a task, whatever their split."""

    examples: Examples
    splits_N: np.ndarray
    """Name of the split of each."""


def everything(task: Task) -> Everything:
    """The splits one after another."""
    splits = [np.full(len(examples), name, dtype="U16") for name, examples in task.splits.items()]
    return Everything(examples=concatenated(*task.splits.values()), splits_N=np.concatenate(splits))


def seen(
    task: Task, source: Source | str | Path | None, *, trust_code: bool = False, run: Run = Run()
) -> tuple[np.ndarray, str]:
    """Features (N, D) of all examples in the order of `everything`, and whose they are.

    Without a source: pictures and sounds by the network inside the package, texts by their words, rows by their cells,
    of which some are missing (NaN). Raises what opening raises.
    """
    if source is None and task.modality == "text":
        return words_of(everything(task).examples.items), WORDS
    if source is None and task.modality == "table":
        return encoded_rows(everything(task).examples.items, columns_of(task)), CELLS
    found = sound_sources.suited(find(source if source is not None else DEFAULT, trust_code=trust_code), task)
    require_modality(task, found.modality)
    opened = open_source(words.suited(found, task))
    names = spread(opened.depths, DEPTHS)
    parts = [cast("Mapping[str, Features]", features(opened, task, split, names, run=run)) for split in task.splits]
    x_ND = np.concatenate([np.concatenate([part[name].x_ND for name in names], axis=1) for part in parts])
    if not np.isfinite(x_ND).all():
        raise DataError(
            f"The features of '{opened.source.reference}' must be finite, but are not. Take another source."
        )
    return x_ND, opened.source.name


def words_of(items: Sequence[Any]) -> np.ndarray:
    """tf-idf of words and pairs of words in at most 256 directions, one for five texts (latent semantic analysis)."""
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [text_of(item) for item in items]
    try:
        x_NV = TfidfVectorizer(sublinear_tf=True, ngram_range=(1, 2), max_features=_WORDS).fit_transform(texts)
    except ValueError:
        raise DataError("Texts must hold words, but none does. Look at the column that is read.") from None
    # a head measures every direction by its own spread: with many for each text, those of no meaning drown the others
    directions = min(_DIRECTIONS, len(texts) // _TEXTS_A_DIRECTION, x_NV.shape[1] - 1)
    if directions < 2:
        return np.asarray(x_NV.todense(), np.float32)
    return TruncatedSVD(directions, random_state=0).fit_transform(x_NV).astype(np.float32)
