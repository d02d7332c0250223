"""Examples prepared in several ways side by side (see `inputs`): float32 (B, W), each view flattened behind the last.

So every network of an ensemble sees an example exactly as it would alone: its own size, mean, crop, tokenizer, columns.
Token ids are padded to the greatest length; they are exact in float32. Letters: B examples, c channels, h w pixels, T
tokens, K columns, W numbers of all views.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transfuse.core.nouns import AnyPreprocessing, DataWarning, JointPreprocessing, TextPreprocessing
from transfuse.sources import inputs
from transfuse.tasks.limits import Limits


class Decoded(tuple[Any, ...]):
    """One input as every view wants it."""


def shape(view: AnyPreprocessing) -> tuple[int, ...]:
    """(c, h, w) of pictures, (T,) of texts, (K,) of rows."""
    return (view.max_length,) if isinstance(view, TextPreprocessing) else tuple(inputs.blank(view).shape[1:])


def tensor_of(items: Sequence[Any], preprocessing: JointPreprocessing) -> torch.Tensor:
    """float32 (B, W)."""
    views = enumerate(preprocessing.views)
    return torch.cat([_flat(inputs.tensor_of(_seen(items, i), view), view) for i, view in views], 1)


def blank(preprocessing: JointPreprocessing, count: int) -> torch.Tensor:
    """Nothing, prepared in every way."""
    return torch.cat([_flat(inputs.blank(view, count), view) for view in preprocessing.views], 1)


def blocks(items: Sequence[Any], preprocessing: JointPreprocessing, batch_size: int) -> list[np.ndarray]:
    """As the first view likes them."""
    return inputs.blocks(_seen(items, 0), preprocessing.views[0], batch_size)


def bytes_each(preprocessing: JointPreprocessing) -> int:
    """As float32."""
    return sum(4 * math.prod(shape(view)) for view in preprocessing.views)


def decoded(item: Any, preprocessing: JointPreprocessing, limits: Limits) -> Decoded:
    """The input as every view wants it; raises `DataError` when it cannot be read."""
    return Decoded(inputs.decoded(item, view, limits) for view in preprocessing.views)


def described(preprocessing: JointPreprocessing) -> str:
    """What each of them takes."""
    return "; and ".join(dict.fromkeys(inputs.described(view) for view in preprocessing.views))


def notes_on(items: Sequence[Any], preprocessing: JointPreprocessing) -> tuple[DataWarning, ...]:
    """What any of them does to some of the examples."""
    notes = (note for view in preprocessing.views for note in inputs.notes_on(items, view))
    return tuple({note.message: note for note in notes}.values())


def from_plain(document: Mapping[str, Any], folder: Path | None) -> JointPreprocessing:
    """From its plain form; files of the views lie in folders `view0`, `view1`, ..."""
    views = tuple(
        inputs.from_plain(view, folder / f"view{place}" if folder else None)
        for place, view in enumerate(document["views"])
    )
    return JointPreprocessing(views=views, known=bool(document.get("known", True)))


def written(preprocessing: JointPreprocessing, folder: Path) -> dict[str, Any]:
    """The plain form; files of the views are written into folders of their own."""
    found = []
    for place, view in enumerate(preprocessing.views):
        own = folder / f"view{place}"
        own.mkdir()
        found.append(inputs.written(view, own))
        if not any(own.iterdir()):
            own.rmdir()
    return {"views": found, "known": preprocessing.known}


def _seen(items: Sequence[Any], view: int) -> list[Any]:
    return [item[view] if isinstance(item, Decoded) else item for item in items]


def _flat(batch: torch.Tensor, view: AnyPreprocessing) -> torch.Tensor:
    """float32 (B, W of this view)."""
    flat = batch.float().flatten(1)
    return torch.nn.functional.pad(flat, (0, math.prod(shape(view)) - flat.shape[1]), value=float(inputs.PADDING))
