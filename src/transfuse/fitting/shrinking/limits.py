"""How small: `4x` is a quarter of the parameters, `3ms` the most milliseconds that an example may take here."""

import re
from dataclasses import dataclass
from typing import Literal

from transfuse.core.errors import UsageError

_FORM = re.compile(r"(\d+(?:\.\d+)?)\s*(x|ms)")


@dataclass(frozen=True, kw_only=True)
class Limit:
    """What a smaller model may cost."""

    unit: Literal["x", "ms"]
    value: float

    @property
    def name(self) -> str:
        """As the user wrote it."""
        return f"{self.value:g}{self.unit}"


def limits(texts: str) -> tuple[Limit, ...]:
    """Limits with commas between, such as `2x,4x,3ms`. Raises `UsageError`.

    >>> [limit.name for limit in limits("2x, 4x,3.5ms")]
    ['2x', '4x', '3.5ms']
    """
    found = []
    for text in texts.split(","):
        form = _FORM.fullmatch(text.strip())
        if form is None:
            raise UsageError(f"`to` must be sizes such as 2x,4x,8x or times such as 3ms, but is '{texts}'.")
        limit = Limit(unit="x" if form[2] == "x" else "ms", value=float(form[1]))
        if limit.value <= (1 if limit.unit == "x" else 0):
            raise UsageError(f"`to` must make the model smaller, such as 2x, but is '{text.strip()}'.")
        if limit not in found:
            found.append(limit)
    return tuple(found)
