"""Which augmentation a training uses: what suits the task, mirroring tested on the validation pictures.

Letters: N examples, C classes or target columns, B pictures of a batch, c channels, h w pixels.
"""

from dataclasses import replace

import numpy as np
from torch import Tensor, nn

from transfuse.core.errors import UsageError
from transfuse.core.nouns import AnyPreprocessing, Preprocessing, SoundPreprocessing, Task
from transfuse.core.tables import chosen
from transfuse.measuring.intervals import paired
from transfuse.measuring.metrics import PRIMARY
from transfuse.predicting.predict import activated
from transfuse.tasks.images.augmenting import NONE, Augmentation, candidates, suited
from transfuse.training.batches import Pictures
from transfuse.training.options import Fit
from transfuse.tuning.targets import Validation, target_scale


def chosen_augmentation(
    task: Task, preprocessing: AnyPreprocessing, fit: Fit, probe: nn.Module | None
) -> tuple[Augmentation, str]:
    """The augmentation that `fit` names, or the one that suits, and why, in words.

    When it would mirror and a network with the probe's head is given, mirroring is tested: if the mirrored validation
    pictures are recognised provably worse, sides matter, and it is switched off.
    """
    if not isinstance(preprocessing, Preprocessing | SoundPreprocessing):
        if fit.augmentation not in ("auto", "none"):
            raise UsageError(f"`augmentation` must be 'auto' or 'none' for these data, but is '{fit.augmentation}'.")
        return NONE, "none: only pictures and sounds are augmented."
    if fit.augmentation != "auto":
        known = candidates(task)
        return known[chosen("augmentation", fit.augmentation, ("auto", *known))], f"{fit.augmentation}, as given."
    augmentation, words = suited(task)
    if augmentation.flip_horizontal and probe is not None and isinstance(preprocessing, Preprocessing):
        gap = loss_by_mirroring(probe, task, preprocessing)
        if gap["high"] < 0:
            augmentation = replace(augmentation, flip_horizontal=False)
            words = (
                "Pictures are shifted, scaled, turned and coloured a little and not mirrored: mirrored validation"
                f" pictures were recognised worse ({PRIMARY[task.kind]} {gap['value']:+.3f}, interval"
                f" {gap['low']:+.3f} to {gap['high']:+.3f})."
            )
    return augmentation, words


def loss_by_mirroring(network: nn.Module, task: Task, preprocessing: Preprocessing) -> dict[str, float]:
    """The metric on mirrored validation pictures minus that on the pictures as they are, paired."""
    valid, scale = task.splits["valid"], target_scale(task)
    pictures = Pictures(valid, preprocessing)
    outputs = [
        activated(
            Validation(inputs=inputs, targets=valid.targets, kind=task.kind, scale=scale).logits(network),
            task.kind,
            target_scale=scale,
        )
        for inputs in (_Mirrored(pictures), pictures)
    ]
    return paired(task.kind, PRIMARY[task.kind], valid.targets, *outputs, groups=valid.groups)


class _Mirrored:
    """Pictures, left and right exchanged."""

    def __init__(self, pictures: Pictures) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def take(self, index_B: np.ndarray, view: int | None) -> Tensor:
        """float32 (B, c, h, w)."""
        return self.pictures.take(index_B, view).flip(-1)
