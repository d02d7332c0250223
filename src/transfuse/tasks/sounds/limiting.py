"""Whether a sound is short enough to be read, by its header alone."""

from pathlib import Path

from transfuse.core.errors import DataError
from transfuse.tasks.limits import Limits, require_file, too_much
from transfuse.tasks.sounds.reading import Item, header

_RATES = (100, 1_000_000)
"""Samples a second: others are written by mistake, or to make resampling endless."""


def require_within(item: Item, limits: Limits) -> None:
    """Raise `DataError` with the reason for a sound that must not be read."""
    name = str(item) if isinstance(item, str | Path) else "the sound"
    if isinstance(item, str | Path):
        require_file(item, limits)
    if isinstance(item, bytes) and len(item) > limits.bytes:
        raise DataError(too_much(name, "bytes", len(item), limits.bytes))
    if isinstance(item, tuple) and not (len(item) == 2 and item[1] > 0):
        raise DataError("A sound in memory must be (samples, samples a second), but is something else.")
    found = header(item)
    if not _RATES[0] <= found.rate <= _RATES[1]:
        raise DataError(f"{name} must have {_RATES[0]} to {_RATES[1]:,} samples a second, but says {found.rate:,}.")
    if found.seconds > limits.seconds:
        raise DataError(too_much(name, "seconds", found.seconds, limits.seconds))
