"""How a network is trained: one frozen value, the same for every method."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from transfuse.core.errors import UsageError

ClassWeights = Literal["equal", "balanced"] | Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Lengths count in optimiser steps, never in epochs: 6 epochs of 400 pictures are only 78 steps."""

    steps: int = 0
    """Optimiser steps. 0: chosen from the number of examples (see `with_steps`)."""
    rate: float = 0.0
    """Peak learning rate of the head. 0: found by a short search."""
    batch_size: int = 32
    """Examples a step."""
    accumulate: int = 1
    """Pieces into which a batch is cut to save memory; the gradient is that of the whole batch."""
    optimizer: Literal["adamw", "sgd"] = "adamw"
    momentum: float = 0.9
    """0..1, for SGD (Nesterov)."""
    weight_decay: float = 0.02
    """Decoupled for AdamW, L2 for SGD; biases and normalisation weights are left out."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    warm_up: float = 0.1
    """0..1: share of the steps in which the rate rises linearly from 0."""
    clip: float = 1.0
    """Largest norm of the whole gradient; 0 switches clipping off."""
    average: float = 0.98
    """0..1: decay of the exponential moving average of the weights, which is what is kept; 0 switches it off."""
    loss: str = "auto"
    """`auto`, `cross_entropy`, `focal`, `binary`, `mse` or `huber`."""
    label_smoothing: float = 0.0
    """0..1: probability mass that is spread over all classes."""
    class_weights: ClassWeights = "equal"
    """`equal`, `balanced` (inverse frequency) or a weight for each class name."""
    augmentation: str = "auto"
    """`auto` (what suits the task), `none`, `light`, `standard` or `strong`."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    patience: int = 5
    """Validations without improvement after which training stops; 0 never stops early."""
    target: float = 0.0
    """Stop when the validation metric reaches it; 0 for no target."""
    validate_every: int = 0
    """Steps between validations. 0: a twelfth of the steps, at least 20."""
    seed: int = 0

    def __post_init__(self) -> None:
        limits = {
            "steps": (0, None), "rate": (0, None), "batch_size": (1, None), "accumulate": (1, None), "momentum": (0, 1),
            "weight_decay": (0, None), "warm_up": (0, 1), "clip": (0, None), "average": (0, 1),
            "label_smoothing": (0, 1), "patience": (0, None), "validate_every": (0, None),
        }  # fmt: skip
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if value < low or (high is not None and value >= high + (high == low)):
                ceiling = f" and below {high}" if high is not None else ""
                raise UsageError(f"`{name}` must be at least {low}{ceiling}, but is {value}.")
        if self.accumulate > self.batch_size:
            raise UsageError(
                f"`accumulate` must be at most the batch size {self.batch_size}, but is {self.accumulate}."
            )


def default_steps(examples: int, *, random: bool = False) -> int:
    """Steps that suit a number of training examples: 300 up to 500 examples, growing with the square root to 10,000.

    Three times as many when all weights are `random`: those leave a student of 0.6 million weights unfinished.

    Big Transfer's rule (Kolesnikov et al., arXiv 1912.11370) has 500 / 10,000 / 20,000 steps in three bands for batches
    of 512; this is a smooth version for batches of 32 that start from a fitted head.
    """
    return int(min(10_000, max(300, 300 * (examples / 500) ** 0.5))) * (3 if random else 1)
