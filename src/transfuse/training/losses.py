"""Losses over logits or values: each gives one number an example, so that example weights apply to all alike.

Letters: B examples of a batch, C classes or target columns.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Kind, Task
from transfuse.core.tables import chosen
from transfuse.training.options import Fit

Loss = Callable[[Tensor, Tensor], Tensor]
"""(logits_BC, targets) -> loss_B, float32."""


def cross_entropy(logits_BC: Tensor, y_B: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Cross-entropy against class indices, with label smoothing (Szegedy et al., arXiv 1512.00567)."""
    return F.cross_entropy(logits_BC.float(), y_B, reduction="none", label_smoothing=smoothing)


def focal(logits_BC: Tensor, y_B: Tensor, *, gamma: float = 2.0) -> Tensor:
    """(1 - p)^gamma times cross-entropy: easy examples count less (Lin et al., arXiv 1708.02002)."""
    log_p_B = F.log_softmax(logits_BC.float(), dim=1).gather(1, y_B[:, None]).squeeze(1)
    return -((1 - log_p_B.exp()) ** gamma) * log_p_B


def binary(logits_BC: Tensor, y_BC: Tensor, *, smoothing: float = 0.0) -> Tensor:
    """Mean over classes of the binary cross-entropy; class indices are read as one-hot rows."""
    if y_BC.ndim == 1:
        y_BC = F.one_hot(y_BC, logits_BC.shape[1]).float()
    y_BC = y_BC * (1 - smoothing) + smoothing / 2
    return F.binary_cross_entropy_with_logits(logits_BC.float(), y_BC, reduction="none").mean(1)


def mse(values_BC: Tensor, y_BC: Tensor) -> Tensor:
    """Mean over columns of the squared error."""
    return F.mse_loss(values_BC.float(), y_BC, reduction="none").mean(1)


def huber(values_BC: Tensor, y_BC: Tensor) -> Tensor:
    """Mean over columns of Huber's error with threshold 1 on standardised targets."""
    return F.huber_loss(values_BC.float(), y_BC, reduction="none").mean(1)


KINDS_OF_LOSS: dict[str, tuple[Kind, ...]] = {
    "cross_entropy": ("single-label",),
    "focal": ("single-label",),
    "binary": ("single-label", "multi-label"),
    "mse": ("regression",),
    "huber": ("regression",),
}
_AUTO: dict[Kind, str] = {"single-label": "cross_entropy", "multi-label": "binary", "regression": "mse"}


def chosen_loss(kind: Kind, fit: Fit) -> Loss:
    """The loss that `fit.loss` names for this kind of task; raises `UsageError` when they do not go together."""
    name = _AUTO[kind] if fit.loss == "auto" else chosen("loss", fit.loss, KINDS_OF_LOSS)
    if kind not in KINDS_OF_LOSS[name]:
        fitting = ", ".join(loss for loss, kinds in KINDS_OF_LOSS.items() if kind in kinds)
        raise UsageError(f"The loss of a {kind} task must be one of {fitting}, but is '{name}'.")
    if fit.label_smoothing and name not in ("cross_entropy", "binary"):
        raise UsageError(f"`label_smoothing` goes with cross_entropy and binary, but the loss is '{name}'.")
    losses: dict[str, Loss] = {
        "cross_entropy": partial(cross_entropy, smoothing=fit.label_smoothing),
        "focal": focal,
        "binary": partial(binary, smoothing=fit.label_smoothing),
        "mse": mse,
        "huber": huber,
    }
    return losses[name]


def example_weights(task: Task, fit: Fit) -> np.ndarray:
    """Weight of each training example, float32 (N,), mean 1: the user's weights times those of its class."""
    weights_N = raw_weights(task, fit)
    return (weights_N / weights_N.mean()).astype(np.float32)


def raw_weights(task: Task, fit: Fit) -> np.ndarray:
    """The same, float64, before they are divided by their mean."""
    train = task.splits["train"]
    weights_N = np.ones(len(train)) if train.weights is None else train.weights.astype(float)
    weights_N = weights_N * spread_over(train.targets, class_factors(task, fit))
    total = weights_N.sum()
    if not np.isfinite(total) or total <= 0 or (weights_N < 0).any():
        raise UsageError(
            "Example and class weights must be finite, not negative, and not all zero on the training split."
        )
    return weights_N


def class_factors(task: Task, fit: Fit) -> np.ndarray:
    """What the examples of each class count, (C,): 1 unless `fit.class_weights` says otherwise."""
    if fit.class_weights == "equal":
        return np.ones(len(task.classes))
    if task.kind == "regression":
        raise UsageError("`class_weights` go with classes, but this task is a regression.")
    if not isinstance(fit.class_weights, str):
        for name in fit.class_weights:
            chosen("class", name, task.classes)
        return np.array([fit.class_weights.get(name, 1.0) for name in task.classes])
    chosen("kind of class weights", fit.class_weights, ("equal", "balanced"))
    targets = task.splits["train"].targets
    counts_C = targets.sum(0) if targets.ndim == 2 else np.bincount(targets, minlength=len(task.classes))
    return len(targets) / (len(task.classes) * np.maximum(counts_C, 1))


def spread_over(targets: np.ndarray, factors_C: np.ndarray) -> np.ndarray:
    """The factor of each example's class (N,); for labels the mean over those that it has, 1 where it has none."""
    if targets.ndim == 1:
        return factors_C[targets]
    if (factors_C == 1).all():  # regression, too
        return np.ones(len(targets))
    labels_N = targets.sum(1)
    return np.where(labels_N > 0, (targets @ factors_C) / np.maximum(labels_N, 1), 1.0)
