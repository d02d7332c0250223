"""The very pictures that a student sees, as its teacher wants them.

An augmented picture is a function of (seed, example, view). Teacher and student of other sizes or means prepare the
same picture each in its own way and augment it by the same key: one shift, one turn, one colour. Kept answers are those
of K views, which the student then sees in turn; answers about the clean picture would cost more than distilling gains.

Letters: N examples, B examples of a batch, K views, W numbers of all views of an ensemble.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from transfuse.core.nouns import AnyPreprocessing, Examples, JointPreprocessing
from transfuse.sources.inputs import modality_of
from transfuse.tasks.images.augmenting import Augmentation
from transfuse.training.batches import Inputs, inputs_of, lengths_of


class Cycled:
    """Inputs whose views repeat after K."""

    def __init__(self, inputs: Inputs, views: int) -> None:
        self.inputs, self.views = inputs, views

    def __len__(self) -> int:
        return len(self.inputs)

    @property
    def lengths_N(self) -> np.ndarray | None:
        """As those of the inputs."""
        return lengths_of(self.inputs)

    def take(self, index_B: np.ndarray, view: int | None) -> Tensor:
        """The view modulo K."""
        return self.inputs.take(index_B, None if view is None else view % self.views)


class SideBySide:
    """Pictures or sounds in several preparations, flattened: what an ensemble takes (`sources.joint_inputs`)."""

    def __init__(self, parts: Sequence[Inputs]) -> None:
        self.parts = parts

    def __len__(self) -> int:
        return len(self.parts[0])

    def take(self, index_B: np.ndarray, view: int | None) -> Tensor:
        """float32 (B, W)."""
        return torch.cat([part.take(index_B, view).float().flatten(1) for part in self.parts], 1)


def inputs_for(examples: Examples, preprocessing: AnyPreprocessing, augmentation: Augmentation, seed: int) -> Inputs:
    """A split as a teacher takes it, augmented by the same keys as the student's."""
    joint = isinstance(preprocessing, JointPreprocessing)
    if joint and modality_of(preprocessing) in ("image", "sound"):
        assert isinstance(preprocessing, JointPreprocessing)
        return SideBySide([inputs_for(examples, view, augmentation, seed) for view in preprocessing.views])
    return inputs_of(examples, preprocessing, augmentation, seed)
