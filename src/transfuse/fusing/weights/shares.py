"""The weights of the parents, which can be divided by their sum. Letters: P parents."""

from collections.abc import Sequence

import numpy as np

from transfuse.core.errors import UsageError

PerParent = Sequence[float]
"""One number for each parent; a default of one number is everybody's."""


def shares(weight: PerParent, normalize: bool) -> np.ndarray:
    """The weights, divided by their sum when that is asked for. Raises `UsageError` for a sum of zero."""
    weight_P = np.asarray(weight, dtype=np.float64)
    if not normalize:
        return weight_P
    require_sum(weight)
    return weight_P / weight_P.sum()


def require_sum(weight: PerParent) -> None:
    """Raise `UsageError` when the weights add up to nothing, and dividing by their sum would give infinities."""
    if abs(sum(weight)) < 1e-8 * max(1.0, *(abs(w) for w in weight)):
        raise UsageError(
            f"`weight` must have a sum other than 0, but is {list(weight)}. Change a weight, or set normalize=false."
        )
