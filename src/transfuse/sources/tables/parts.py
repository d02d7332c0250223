"""Texts, pictures and sounds in the cells of a table, as numbers: what their column's source wants, flattened.

Pictures, and sounds as pictures, are normalised pixels, texts their token ids padded to the greatest length; both are
exact in float32. A cell that is missing, or a text without a word, is NaN throughout. Letters: B rows, c channels, h w
pixels, T tokens, W numbers of a cell.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transfuse.core.errors import DataError
from transfuse.core.nouns import DataWarning, Part, TextPreprocessing
from transfuse.sources import inputs
from transfuse.sources.inputs import PADDING
from transfuse.tasks.limits import Limits
from transfuse.tasks.tables.rows import cells_of


def shape(part: Part) -> tuple[int, ...]:
    """(c, h, w) of a picture or sound, (T,) of a text."""
    if isinstance(part.preprocessing, TextPreprocessing):
        return (part.preprocessing.max_length,)
    return tuple(inputs.blank(part.preprocessing).shape[1:])


def width(part: Part) -> int:
    """Numbers of a cell."""
    return int(np.prod(shape(part)))


def tensor_of(items: Sequence[Any], part: Part) -> torch.Tensor:
    """float32 (B, W). Raises `DataError` for a picture or sound that cannot be read."""
    found, cells = torch.full((len(items), width(part)), torch.nan), _cells(items, part)
    there = [place for place, cell in enumerate(cells) if cell is not None]
    if there:
        prepared = inputs.tensor_of([cells[place] for place in there], part.preprocessing).float().flatten(1)
        padded = torch.full((len(there), width(part)), float(PADDING))
        padded[:, : prepared.shape[1]] = prepared
        found[there] = padded
    return found


def blank(part: Part, count: int) -> torch.Tensor:
    """Cells of nothing that are there."""
    given = inputs.blank(part.preprocessing, count).float().flatten(1)
    padding = width(part) - given.shape[1]
    return torch.nn.functional.pad(given, (0, padding), value=PADDING)


def blocks(items: Sequence[Any], part: Part, batch_size: int) -> list[np.ndarray]:
    """As the source of the part likes them; of texts by their length."""
    empty: Any = "" if isinstance(part.preprocessing, TextPreprocessing) else None
    cells = [empty if cell is None else cell for cell in _cells(items, part)]
    return inputs.blocks(cells, part.preprocessing, batch_size)


def require_readable(item: Any, part: Part, limits: Limits) -> None:
    """Raise `DataError` for a row whose picture or sound is named and cannot be read."""
    cell = _cells([item], part)[0]
    if cell is not None and not isinstance(part.preprocessing, TextPreprocessing):
        try:
            inputs.decoded(cell, part.preprocessing, limits)
        except DataError as problem:
            raise DataError(f"Column '{part.column}': {problem}") from None


def described(part: Part) -> str:
    """What a cell is, in words."""
    what = {"image": "path of a picture: ", "sound": "path of a sound: "}
    return what.get(inputs.modality_of(part.preprocessing), "") + inputs.described(part.preprocessing)


def notes_on(items: Sequence[Any], part: Part) -> tuple[DataWarning, ...]:
    """What the source does to some of these cells."""
    return inputs.notes_on([cell for cell in _cells(items, part) if cell is not None], part.preprocessing)


def from_plain(documents: Sequence[Mapping[str, Any]], folder: Path | None) -> tuple[Part, ...]:
    """Parts from their plain form; files of theirs lie in folders `part0`, `part1`, ..."""
    return tuple(
        Part(
            column=document["column"],
            preprocessing=inputs.from_plain(document["preprocessing"], folder / f"part{place}" if folder else None),  # type: ignore[arg-type]
        )
        for place, document in enumerate(documents)
    )


def written(parts: Sequence[Part], folder: Path) -> list[dict[str, Any]]:
    """The plain form of parts; files of theirs are written into folders of their own."""
    found = []
    for place, part in enumerate(parts):
        own = folder / f"part{place}"
        own.mkdir()
        found.append({"column": part.column, "preprocessing": inputs.written(part.preprocessing, own)})
        if not any(own.iterdir()):
            own.rmdir()
    return found


def _cells(items: Sequence[Any], part: Part) -> list[Any]:
    """Texts, or paths; None for what is missing."""
    if not isinstance(part.preprocessing, TextPreprocessing):
        return cells_of(items, part.column, paths=True)
    return [cell if cell is not None and str(cell).strip() else None for cell in cells_of(items, part.column)]
