"""Durations as people write them: `90`, `90s`, `10m`, `1h30m`."""

import re

from transfuse.core.errors import UsageError

_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0}


def seconds(text: str | float) -> float:
    """Seconds of a duration; raises `UsageError` for anything else.

    >>> seconds("10m"), seconds("1h30m"), seconds(45)
    (600.0, 5400.0, 45.0)
    """
    if isinstance(text, int | float):
        value = float(text)
    else:
        parts = re.fullmatch(r"(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s?)?", text.strip().lower())
        numbers = parts.groups() if parts else ()
        value = sum(float(number) * unit for number, unit in zip(numbers, _UNITS.values(), strict=False) if number)
    if not 0 < value < float("inf"):
        raise UsageError(f"A duration must be like '90s', '10m' or '1h30m', but is '{text}'.")
    return value


def spoken(duration: float) -> str:
    """A duration for people: `0.4 s`, `12 s`, `3 min 05 s`, `2 h 10 min`."""
    if duration < 10:
        return f"{duration:.1f} s"
    whole = round(duration)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
