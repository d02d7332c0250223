"""Σ w·p: the mean of the members' probabilities (or values), all alike unless weights are given.

Hansen and Salamon, "Neural network ensembles", IEEE PAMI 12, 1990. Calibrated members make an underconfident mean, so
the door fits a temperature to it where there are labelled examples. Siblings: `caruana` learns the weights, `stacking`
a head. Letters: M members, N examples, C classes.
"""

from collections.abc import Sequence

import numpy as np

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Kind
from transfuse.fusing.outputs.blending import Array, Blend


def average(
    p_MNC: Array,
    targets: np.ndarray,
    kind: Kind,
    *,
    seed: int = 0,
    groups: Sequence[str] | None = None,
    weight: Sequence[float] | float = 1.0,
) -> Blend:
    """Shares in proportion to `weight`: one number, or one for each member; none below 0, and not all 0."""
    weight_M = np.full(len(p_MNC), float(weight)) if isinstance(weight, int | float) else np.array(weight, float)
    if weight_M.shape != (len(p_MNC),):
        raise UsageError(f"`weight` must have one value for each of the {len(p_MNC)} members, not {len(weight_M)}.")
    if not np.isfinite(weight_M).all() or weight_M.min() < 0 or weight_M.sum() <= 0:
        raise UsageError(f"`weight` must hold numbers of at least 0 that are not all 0, but is {weight}.")
    return Blend(share_M=weight_M / weight_M.sum())
