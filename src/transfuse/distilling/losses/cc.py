"""cc: the difference to the teacher is not one that neighbours in the batch share.

Peng et al., "Correlation Congruence for Knowledge Distillation", arXiv 1904.01802, as in CRD's code: both features
through learnt embeddings of 128 normalised numbers, Δ = |s − t|, the mean of ⟨Δ_i, Δ_{i+1}⟩, weight 0.02. The paper's
kernel is not in that code, and neither here. Changed: one example has no neighbour, so its loss is 0.

Letters: B examples, D E features, K embedded ones.
"""

from torch import Tensor, nn

from transfuse.distilling.losses.embedding import Embedding


class CC(nn.Module):
    """Holds the embeddings."""

    def __init__(self, features_s: int, features_t: int, *, size: int = 128) -> None:
        """`size` is K."""
        super().__init__()
        self.embed_s, self.embed_t = Embedding(features_s, size), Embedding(features_t, size)

    def forward(self, features_BD: Tensor, teacher_BE: Tensor) -> Tensor:
        """The mean over neighbours."""
        return congruence(self.embed_s(features_BD), self.embed_t(teacher_BE))


def congruence(s_BK: Tensor, t_BK: Tensor) -> Tensor:
    """The mean over neighbours of how far their differences agree."""
    if len(s_BK) < 2:
        return s_BK.sum() * 0
    delta_BK = (s_BK - t_BK).abs()
    return (delta_BK[:-1] * delta_BK[1:]).sum(1).mean()
