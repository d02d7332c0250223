"""What each teacher counts for each example: its share of what the student owes to teachers, 1 in sum at most.

`equal`: all who know the example's class count alike. `correct`: those that name the label; an example about which
nobody is right is taught by its label alone. `confidence`: CA-MKD (Zhang, Chen and Wang, "Confidence-Aware
Multi-Teacher Knowledge Distillation", arXiv 2201.00007): w_m = (1 − exp(L_m) / Σ_j exp(L_j)) / (M − 1), L the loss of a
teacher's answer on the label. Changed: one teacher alone, for which that is undefined, counts exp(−L), its probability
of the label; without a label all count alike.

Letters: B examples, M teachers, S classes that one knows, C classes of the task.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Kind, Task
from transfuse.distilling.teachers import Teacher
from transfuse.training.batches import Batch


@dataclass(frozen=True, kw_only=True)
class Weighing:
    """How teachers are weighed on a task's examples, of which the first `labelled` have labels."""

    how: Any
    """`equal`, `confidence`, `correct`, or a tensor (N, M)."""
    kind: Kind
    labelled: int
    place_MC: Tensor
    """int64: where each class of the task stands among those that a teacher knows; -1 where it does not."""

    def has_label(self, batch: Batch) -> Tensor:
        """bool (B,)."""
        return batch.index_B < self.labelled

    def places(self, y_B: Tensor, teacher: int) -> Tensor:
        """The label among the classes that a teacher knows, (B,); -1 where it does not."""
        return self.place_MC[teacher].to(y_B.device)[y_B.clamp(min=0)]

    def weights(self, answers: Sequence[Tensor], batch: Batch) -> Tensor:
        """float32 (B, M), from the teachers' answers (B, S) each."""
        labelled_B = self.has_label(batch)
        teaches_BM = torch.ones(len(labelled_B), len(answers), dtype=torch.bool, device=labelled_B.device)
        if self.kind == "single-label":
            knows_BM = torch.stack([self.places(batch.y, m) >= 0 for m in range(len(answers))], 1)
            teaches_BM = knows_BM | ~labelled_B[:, None]
        equal_BM = teaches_BM / teaches_BM.sum(1, keepdim=True).clamp(min=1)
        if isinstance(self.how, Tensor):
            given_BM = self.how.to(batch.index_B.device)[batch.index_B.clamp(max=self.labelled - 1)] * teaches_BM
            return torch.where(labelled_B[:, None], given_BM, equal_BM)
        if self.how == "equal":
            return equal_BM
        own = [self._losses(answer_BS, batch, m) for m, answer_BS in enumerate(answers)]
        loss_BM = torch.stack(own, 1).masked_fill(~teaches_BM, torch.inf)
        found_BM = _confident(loss_BM, teaches_BM)
        if self.how == "correct":
            right = [answer_BS.argmax(1) == self.places(batch.y, m) for m, answer_BS in enumerate(answers)]
            right_BM = torch.stack(right, 1) & teaches_BM
            found_BM = right_BM / right_BM.sum(1, keepdim=True).clamp(min=1)
        return torch.where(labelled_B[:, None], found_BM, equal_BM)

    def _losses(self, answer_BS: Tensor, batch: Batch, teacher: int) -> Tensor:
        """A teacher's loss on each label, (B,); anything where there is none."""
        if self.kind == "single-label":
            return F.cross_entropy(answer_BS, self.places(batch.y, teacher).clamp(min=0), reduction="none")
        known = self.place_MC[teacher].to(answer_BS.device) >= 0
        y_BS = batch.y[:, known].float()
        if self.kind == "multi-label":
            return F.binary_cross_entropy_with_logits(answer_BS, y_BS, reduction="none").mean(1)
        return F.mse_loss(answer_BS, y_BS, reduction="none").mean(1)


def weighing_of(how: Any, teachers: Sequence[Teacher], task: Task) -> Weighing:
    """Raises `UsageError` when an array of weights does not fit, or the word does not suit the kind of task."""
    train = len(task.splits["train"])
    if isinstance(how, str) and how == "correct" and task.kind != "single-label":
        raise UsageError(f"`teacher_weights` must not be 'correct' for a {task.kind} task: use 'confidence'.")
    if not isinstance(how, str):
        given_NM = np.asarray(how, np.float32)
        if given_NM.shape != (train, len(teachers)):
            raise UsageError(
                f"`teacher_weights` must be ({train}, {len(teachers)}), training examples and teachers, but are"
                f" {given_NM.shape}."
            )
        if not np.isfinite(given_NM).all() or (given_NM < 0).any() or not given_NM.any():
            raise UsageError("`teacher_weights` must be finite, not negative, and not all zero.")
        how = torch.from_numpy(given_NM)
    place_MC = torch.full((len(teachers), len(task.classes)), -1)
    for m, teacher in enumerate(teachers):
        place_MC[m, list(teacher.matched.known)] = torch.arange(len(teacher.matched.known))
    return Weighing(how=how, kind=task.kind, labelled=train, place_MC=place_MC)


def _confident(loss_BM: Tensor, teaches_BM: Tensor) -> Tensor:
    """CA-MKD's weights among those who teach an example."""
    count_B1 = teaches_BM.sum(1, keepdim=True)
    share_BM = loss_BM.masked_fill(~teaches_BM, -torch.inf).softmax(1).nan_to_num(0.0)
    several_BM = (1 - share_BM) / (count_B1 - 1).clamp(min=1)
    return torch.where(count_B1 > 1, several_BM, (-loss_BM).exp()) * teaches_BM
