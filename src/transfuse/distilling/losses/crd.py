"""crd: an example's features tell which of many examples the teacher saw.

Tian, Krishnan and Isola, "Contrastive Representation Distillation", arXiv 1910.10699: noise-contrastive estimation
between embeddings of 128 normalised numbers and memories of all training examples, τ = 0.07, memory momentum 0.5,
weight 0.8. The constants Z come from the first batch. Changed: no more negatives than there are examples; they are
drawn by the loop's keyed randomness instead of the alias method, which for equal weights is the same distribution;
negatives may be of the same class.

Letters: B examples, N training examples, D E features, K embedded ones, M = 1 + negatives.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transfuse.distilling.losses.embedding import Embedding

_EPSILON = 1e-7


class CRD(nn.Module):
    """Holds the embeddings, and a memory of each side."""

    memory_s_NK: Tensor
    memory_t_NK: Tensor
    z_2: Tensor

    def __init__(
        self,
        features_s: int,
        features_t: int,
        examples: int,
        *,
        negatives: int = 16384,
        size: int = 128,
        tau: float = 0.07,
        momentum: float = 0.5,
    ) -> None:
        """`negatives` an example, at most `examples`; `size` is K."""
        super().__init__()
        self.embed_s, self.embed_t = Embedding(features_s, size), Embedding(features_t, size)
        self.negatives, self.tau, self.momentum = min(negatives, examples), tau, momentum
        bound = (3 / size) ** 0.5
        self.register_buffer("memory_s_NK", torch.rand(examples, size) * 2 * bound - bound)
        self.register_buffer("memory_t_NK", torch.rand(examples, size) * 2 * bound - bound)
        self.register_buffer("z_2", torch.full((2,), -1.0))

    def forward(self, features_BD: Tensor, teacher_BE: Tensor, index_B: Tensor) -> Tensor:
        """`index_B` are the examples' places in the training split."""
        drawn_BM = torch.randint(len(self.memory_s_NK), (len(index_B), self.negatives + 1), device=index_B.device)
        drawn_BM[:, 0] = index_B
        return self.contrasted(features_BD, teacher_BE, drawn_BM)

    def contrasted(self, features_BD: Tensor, teacher_BE: Tensor, drawn_BM: Tensor) -> Tensor:
        """The loss against these examples, the true one first; the memories move on."""
        s_BK, t_BK = self.embed_s(features_BD), self.embed_t(teacher_BE)
        of_s = self._likeness(s_BK, self.memory_t_NK[drawn_BM], 0)
        of_t = self._likeness(t_BK, self.memory_s_NK[drawn_BM], 1)
        if torch.is_grad_enabled() and self.training:
            self._remember(self.memory_s_NK, drawn_BM[:, 0], s_BK)
            self._remember(self.memory_t_NK, drawn_BM[:, 0], t_BK)
        return self._estimated(of_s) + self._estimated(of_t)

    def _likeness(self, x_BK: Tensor, memory_BMK: Tensor, side: int) -> Tensor:
        raw_BM = (torch.einsum("bk,bmk->bm", x_BK, memory_BMK) / self.tau).exp()
        if self.z_2[side] < 0:
            self.z_2[side] = raw_BM.detach().mean() * len(self.memory_s_NK)
        return raw_BM / self.z_2[side].clone()

    def _estimated(self, out_BM: Tensor) -> Tensor:
        noise = (out_BM.shape[1] - 1) / len(self.memory_s_NK)
        true = (out_BM[:, 0] / (out_BM[:, 0] + noise + _EPSILON)).log().sum()
        others = (noise / (out_BM[:, 1:] + noise + _EPSILON)).log().sum()
        return -(true + others) / len(out_BM)

    @torch.no_grad()
    def _remember(self, memory_NK: Tensor, index_B: Tensor, x_BK: Tensor) -> None:
        moved_BK = self.momentum * memory_NK[index_B] + (1 - self.momentum) * x_BK
        memory_NK[index_B] = F.normalize(moved_BK).to(memory_NK.dtype)
