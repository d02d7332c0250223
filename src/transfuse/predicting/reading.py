"""Inputs as a user gives them, decoded a part at a time: as many as memory allows, each with what is odd about it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from transfuse.core.errors import DataError
from transfuse.core.nouns import AnyPreprocessing, Model
from transfuse.predicting.turning_away import unlike
from transfuse.sources.inputs import decoded
from transfuse.tasks.limits import Limits

_HELD = 1 << 27  # bytes of decoded inputs that wait for the network together
_MOST = 65_536  # inputs of them


@dataclass(frozen=True, kw_only=True)
class Part:
    """Inputs that are held in memory together."""

    places: list[int] = field(default_factory=list)
    """Of those that were decoded, among all inputs."""
    items: list[Any] = field(default_factory=list)
    warnings: list[list[str]] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)
    """Why an input was not taken, by place."""


def parts(
    items: Sequence[Any], models: Mapping[str, Model], preprocessing: AnyPreprocessing, limits: Limits, strict: bool
) -> Iterator[Part]:
    """Decoded inputs, few enough at once."""
    part, held = Part(), 0
    for place, item in enumerate(items):
        try:
            read = decoded(item, preprocessing, limits)
            said = unlike(item, read, models, preprocessing)
            if strict and said:
                raise DataError(f"It is unlike what the model learnt from: {'; '.join(said)}.")
        except DataError as problem:
            part.reasons[place] = str(problem)
            continue
        part.places.append(place)
        part.items.append(read)
        part.warnings.append(said)
        held += _size(read)
        if held >= _HELD or len(part.places) >= _MOST:
            yield part
            part, held = Part(), 0
    yield part


def _size(read: Any) -> int:
    if isinstance(read, np.ndarray):
        return read.nbytes
    if isinstance(read, tuple):
        return sum(map(_size, read))
    return len(read) if isinstance(read, str | bytes) else 0
