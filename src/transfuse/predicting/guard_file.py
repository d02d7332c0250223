"""A model's guard in its folder: plain values in the document, what its score needs as tensors in a file beside it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transfuse.core import digests
from transfuse.core.errors import ModelError
from transfuse.core.nouns import Guard
from transfuse.core.provenance import plain
from transfuse.weights.files import read_tensors, write_tensors

GUARD = "guard.safetensors"


def written(guard: Guard | None, folder: Path) -> dict[str, Any] | None:
    """Write the tensors, and give the plain values for the document."""
    if guard is None:
        return None
    found: dict[str, Any] = {
        "ranges": plain({name: list(pair) for name, pair in guard.ranges.items()}), "score": guard.score,
        "threshold": guard.threshold, "share": guard.share, "ordinary": plain(guard.ordinary),
    }  # fmt: skip
    if guard.statistics:
        tensors = {name: torch.from_numpy(np.array(array)) for name, array in guard.statistics.items()}
        write_tensors(folder / GUARD, tensors)
        found["digest"] = digests.of_file(folder / GUARD)
    return found


def read(document: Mapping[str, Any] | None, folder: Path) -> Guard | None:
    """What `written` wrote; None of older folders. Raises `ModelError` for a file that was changed.

    A file that somebody deleted takes the score with it; ranges are kept.
    """
    if document is None:
        return None
    statistics: dict[str, np.ndarray] = {}
    score = str(document["score"])
    if "digest" in document and (folder / GUARD).exists():
        if digests.of_file(folder / GUARD) != document["digest"]:
            raise ModelError(f"'{folder / GUARD}' is not the file that was saved: its digest differs. Restore it.")
        statistics = {name: tensor.numpy() for name, tensor in read_tensors(folder / GUARD).items()}
    elif "digest" in document:
        score = ""
    return Guard(
        ranges={name: (float(low), float(high)) for name, (low, high) in document["ranges"].items()},
        score=score,
        statistics=statistics,
        threshold=float(document["threshold"]),
        share=float(document["share"]),
        ordinary=dict(document["ordinary"]),
    )
