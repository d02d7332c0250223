"""What a method of fusing predictions gives, and what that makes of answers: `sources/ensembles.py` in float64.

Letters: M members, N examples, C classes, labels or target columns.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from transfuse.core.nouns import Kind
from transfuse.sources.ensembles import FLOOR

Array = NDArray[np.float64]
_LEAST = 1e-15


@dataclass(frozen=True, kw_only=True)
class Blend:
    """Either shares of a mean, or a linear head on the members' scores side by side."""

    share_M: Array | None = None
    """0..1, sum 1; members of share 0 are left out of what is saved."""
    weight_CX: Array | None = None
    """On log-probabilities, logits or values, (C, M·C), member by member."""
    bias_C: Array | None = None
    facts: tuple[tuple[str, object], ...] = ()
    """What the report says of how it was found."""


def blended(blend: Blend, p_MNC: Array, kind: Kind) -> Array:
    """Logits whose softmax or sigmoid are the fused probabilities, or fused values: (N, C)."""
    if blend.share_M is not None:
        mean_NC = np.einsum("m,mnc->nc", blend.share_M, p_MNC)
        return mean_NC if kind == "regression" else scores(mean_NC, kind)
    assert blend.weight_CX is not None and blend.bias_C is not None
    return side_by_side(p_MNC, kind) @ blend.weight_CX.T + blend.bias_C


def side_by_side(p_MNC: Array, kind: Kind) -> Array:
    """What a linear head sees: the scores of all members, cut where they say 'never', (N, M·C)."""
    x_MNC = p_MNC if kind == "regression" else np.clip(scores(p_MNC, kind), -FLOOR, FLOOR)
    return np.concatenate(list(x_MNC), 1)


def scores(p: Array, kind: Kind) -> Array:
    """Log-probabilities, or logits of labels that do not exclude each other."""
    p = np.clip(p, _LEAST, 1.0 - _LEAST if kind == "multi-label" else 1.0)
    return np.log(p) - np.log1p(-p) if kind == "multi-label" else np.log(p)
