"""Models that see pictures more coarsely than they were taught to."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from transfuse.core.nouns import Model
from transfuse.sources.inputs import with_encoding

Models = TypeVar("Models", Model, Mapping[str, Model], Model | Mapping[str, Model])


def coarser(model: Models, encoding: str) -> Models:
    """The model, or those of several tasks, with pictures encoded (`tasks.images.encodings`) before it sees them.

    Its guard and confidences are those of the pictures as they were: `guard` makes new ones.
    """
    if isinstance(model, Model):
        return replace(model, preprocessing=with_encoding(model.preprocessing, encoding))
    return {name: coarser(one, encoding) for name, one in model.items()}
