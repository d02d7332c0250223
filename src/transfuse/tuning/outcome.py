"""What a method takes and what it gives."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from torch import nn

from transfuse.core.errors import UsageError
from transfuse.core.nouns import AnyPreprocessing, Guard
from transfuse.probing.learnt import Learnt


@dataclass(frozen=True, kw_only=True)
class HeadShape:
    """The part of a network that is new: from features to classes."""

    kind: Literal["linear", "mlp", "cosine"] = "linear"
    hidden: int | None = None
    """Units of the hidden layer of an `mlp`; None: as many as there are features, at most 512."""
    activation: str = "relu"
    """`relu`, `gelu`, `silu`, `tanh`, `leaky_relu` or `elu`, for an `mlp`."""
    dropout: float = 0.0
    """0..1, before the last layer."""

    def __post_init__(self) -> None:
        if self.hidden is not None and self.hidden < 1:
            raise UsageError(f"`hidden` must be at least 1, but is {self.hidden}.")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A method's result: a network and what was learnt on the way."""

    network: nn.Module
    builder: Mapping[str, Any]
    preprocessing: AnyPreprocessing
    head: HeadShape = field(default_factory=HeadShape)
    temperature: float = 1.0
    target_scale: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    curves: tuple[Mapping[str, float], ...] = ()
    """History of validations: step, rate, train_loss, score, loss."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Plain values found on the way: the searched rate, the kept alpha, tensors loaded."""
    interrupted: bool = False
    licence: str = "unknown"
    out_of_fold_NC: np.ndarray | None = None
    """Of a frozen source: answers on the training split (N, C), each by a head that was fitted without that example."""
    guard: Guard | None = None
    """Of a probe: the statistics of its features, by which strangers may be told."""
    learnt: Learnt | None = None
    """What a probe's head was made of."""
