"""A student under its teacher, in the one loop: student and learnt parts of the losses move together.

Letters: B examples, C classes.
"""

import torch
from torch import Tensor, nn

from transfuse.distilling.answers import Answers
from transfuse.distilling.observing import Observed
from transfuse.distilling.sums import Sum
from transfuse.distilling.terms import Seen, Terms
from transfuse.sources.network import Network
from transfuse.training.batches import Batch
from transfuse.training.loop import Objective
from transfuse.tuning.tune import Workbench


class Pupil(nn.Module):
    """A student, and the learnt parts of what it owes; answers as the student does."""

    def __init__(self, student: Network, terms: Terms) -> None:
        super().__init__()
        self.student, self.terms = student, terms

    def forward(self, x: Tensor) -> Tensor:
        return self.student(x)


def owed(pupil: Pupil, wanted: Sum, bench: Workbench, answers: Answers, looking: Observed, passes: int) -> Objective:
    """What is minimised; `passes` are those of the whole training. Example weights are those of the labels' part."""

    def objective(network: nn.Module, batch: Batch) -> Tensor:
        logits_BC = network(batch.x)
        teacher_BC = answers(batch)
        labels = wanted.labels * bench.weighted(logits_BC, batch) if wanted.labels else logits_BC.new_zeros(())
        with torch.autocast(logits_BC.device.type, enabled=False):
            seen = Seen(
                logits_BC=logits_BC,
                teacher_BC=teacher_BC,
                y_B=batch.y,
                index_B=batch.index_B,
                share=float(batch.view_B.float().mean()) / passes,
                **looking.read(),
            )
            return labels.float() + pupil.terms(seen)

    return objective
