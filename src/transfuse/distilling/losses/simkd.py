"""simkd: the student's last map, through a learnt projector, is the teacher's, and the teacher's classifier answers.

Chen et al., "Knowledge Distillation with the Reused Teacher Classifier", arXiv 2203.14001: mean squared error of the
maps, no labels, no softened answers. Nothing changed; the projector (`sources.projected`) is a part of the finished
student, which `reusing` builds.

Letters: B examples, c channels, h w places.
"""

import torch.nn.functional as F
from torch import Tensor

from transfuse.distilling.losses.sizes import one_size


def simkd(map_s: Tensor, map_t: Tensor, *, factor: int = 2) -> Tensor:
    """Mean over all elements of the squared error of the projected map; `factor` narrows the projector's middle."""
    return F.mse_loss(*one_size(map_s, map_t))
