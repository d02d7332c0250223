"""Sources of pictures that are to hear: the same network, given sounds as log-mel pictures."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from transfuse.core.nouns import Preprocessing, Source, Task
from transfuse.sources.sounds.inputs import suited as prepared


def hearing(source: Source, items: Sequence[Any]) -> Source:
    """A source of pictures as one of sounds like these (see `sound_inputs.suited`); any other as it is.

    Its network and its weights stay, so its digest stays: what it makes of examples is known by the preprocessing too.
    """
    if not isinstance(source.preprocessing, Preprocessing):
        return source
    return replace(source, modality="sound", preprocessing=prepared(source.preprocessing, items))


def suited(source: Source, task: Task) -> Source:
    """The source for the task's sounds; for a task of other data as it is."""
    return hearing(source, task.splits["train"].items) if task.modality == "sound" else source
