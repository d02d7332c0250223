"""Targets as a network learns them, and the validation that decides.

Letters: N examples, C classes or target columns.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from transfuse.core.errors import DataError
from transfuse.core.nouns import Kind, Task
from transfuse.measuring.metrics import PRIMARY, higher_is_better, measure
from transfuse.predicting.predict import activated
from transfuse.training.batches import Inputs, lengths_of

TargetScale = tuple[tuple[float, ...], tuple[float, ...]]


def target_scale(task: Task) -> TargetScale | None:
    """Mean and standard deviation of each target column on the training split; None unless regression."""
    if task.kind != "regression":
        return None
    targets_NC = task.splits["train"].targets.astype(np.float64)
    deviation_C = targets_NC.std(0)
    deviation_C[deviation_C == 0] = 1.0
    return tuple(targets_NC.mean(0).tolist()), tuple(deviation_C.tolist())


def as_tensor(targets: np.ndarray, scale: TargetScale | None) -> Tensor:
    """Class indices as int64 (N,), labels or standardised values as float32 (N, C)."""
    if scale is not None:
        targets = (targets - np.asarray(scale[0])) / np.asarray(scale[1])
    return torch.from_numpy(targets.astype(np.int64 if targets.ndim == 1 else np.float32))


@dataclass(frozen=True, kw_only=True)
class Validation:
    """The validation split as a function from a network to metrics."""

    inputs: Inputs
    targets: np.ndarray
    kind: Kind
    scale: TargetScale | None
    balanced: bool = False
    """Score by balanced accuracy: whoever weights classes does not want rare ones given up for accuracy."""
    batch_size: int = 128

    def logits(self, network: nn.Module) -> np.ndarray:
        """float32 (N, C) in evaluation mode."""
        device = next(network.parameters()).device
        network.eval()
        lengths_N = lengths_of(self.inputs)
        places = np.arange(len(self.inputs)) if lengths_N is None else np.argsort(lengths_N, kind="stable")
        with torch.inference_mode():
            blocks = [
                network(self.inputs.take(places[start : start + self.batch_size], None).to(device))
                .float()
                .cpu()
                .numpy()
                for start in range(0, len(places), self.batch_size)
            ]
        logits_NC = np.concatenate(blocks)
        return logits_NC if lengths_N is None else logits_NC[np.argsort(places)]

    def __call__(self, network: nn.Module) -> Mapping[str, float]:
        """`score` (higher is better), `loss`, and the primary metric under its own name."""
        outputs_NC = activated(self.logits(network), self.kind, target_scale=self.scale)
        return scored(self.kind, self.targets, outputs_NC, balanced=self.balanced)


def scored(kind: Kind, targets: np.ndarray, outputs_NC: np.ndarray, *, balanced: bool = False) -> dict[str, float]:
    """What decides as `score` (higher is better), the loss that breaks its ties, and the kind's primary metric."""
    metrics = measure(kind, targets, outputs_NC)
    primary = PRIMARY[kind]
    deciding = "balanced_accuracy" if balanced and kind == "single-label" else primary
    score = metrics[deciding] if higher_is_better(deciding) else -metrics[deciding]
    loss = metrics["rmse" if kind == "regression" else "log_loss"]
    return {"score": score, "loss": loss, primary: metrics[primary]}


def require_splits(task: Task) -> None:
    """Raise `DataError` when there is nothing to train or to validate on."""
    for name in ("train", "valid"):
        if name not in task.splits or not len(task.splits[name]):
            raise DataError(f"The task '{task.name}' must have examples in its '{name}' split, but has none.")
