"""What rows of a table say about each other, without labels: cells are swapped for others, the network tells what stood
there.

Corruption by cells of other rows, so that a swapped cell is as likely as any in its column: Bahri et al., "SCARF",
arXiv 2106.15147. The true cells as the goal, not the contrast of two views: Rubachev et al., "Revisiting pretraining
objectives for tabular deep learning", arXiv 2207.03208 (there `rec`). Changed: numbers are foretold as their place
among the column's quantiles, which outliers cannot rule; every column counts equally, in units of what knowing nothing
costs.
Letters: B rows of a batch, N rows, K slots, Q quantiles, D features.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from transfuse.core.randomness import key
from transfuse.sources.tables.network import OTHERS, TabularBody


class Reconstructing(nn.Module):
    """A body under one linear layer for each column; gives the numbers (B, k) and the logits of all categories."""

    def __init__(self, body: TabularBody, features: int) -> None:
        super().__init__()
        self.body = body
        self.sizes = [len(table) - OTHERS for table in body.values]
        self.numbers = nn.Linear(features, len(body.edges_KQ))  # type: ignore[arg-type]
        self.categories = nn.Linear(features, sum(self.sizes))

    def forward(self, x_BK: Tensor) -> tuple[Tensor, Tensor]:
        features_BD = self.body(x_BK)
        return self.numbers(features_BD), self.categories(features_BD)

    def loss(self, x_BK: Tensor, true_BK: Tensor) -> Tensor:
        """Mean over columns of what is not foretold of the true cells: 1 for knowing nothing. Missing cells are left
        out."""
        numbers_Bk, logits = self(x_BK)
        costs = []
        if numbers_Bk.shape[1]:
            true_Bk = true_BK[:, self.body.numeric]  # type: ignore[index]
            known_Bk = ~true_Bk.isnan()
            gap_Bk = torch.where(known_Bk, numbers_Bk - self._places(true_Bk), 0.0)
            costs.append(12 * gap_Bk.square().sum(0) / known_Bk.sum(0).clamp(min=1))  # 1/12: variance of even places
        for place, logits_BC in zip(self.body.categorical, logits.split(self.sizes, 1), strict=True):  # type: ignore[arg-type]
            true_B = true_BK[:, place]
            known_B = true_B >= 0  # neither missing nor a category that nobody knows
            goal_B = torch.where(known_B, true_B, 0.0).long()
            loss_B = nn.functional.cross_entropy(logits_BC.float(), goal_B, reduction="none") * known_B
            nothing = math.log(max(2, logits_BC.shape[1]))
            costs.append((loss_B.sum() / known_B.sum().clamp(min=1) / nothing)[None])
        return torch.cat(costs).mean()

    def _places(self, x_Bk: Tensor) -> Tensor:
        """Numbers as places among their columns' quantiles, -0.5 to 0.5."""
        edges_kQ: Tensor = self.body.edges_KQ  # type: ignore[assignment]
        low, high = edges_kQ[:, :-1], edges_kQ[:, 1:]
        return ((x_Bk[..., None].nan_to_num(nan=0.0) - low) / (high - low).clamp(min=1e-6)).clamp(0, 1).mean(-1) - 0.5


class Corrupted:
    """Rows of which cells are swapped for other rows' cells of the same column, by (seed, view)."""

    def __init__(self, x_NK: np.ndarray, columns: Sequence[str], share: float, seed: int) -> None:
        self.x_NK, self.share, self.seed = x_NK, share, seed
        self.names = list(dict.fromkeys(columns))
        self.column_K = np.array([self.names.index(name) for name in columns])
        self._kept: tuple[int | None, np.ndarray] = (None, x_NK)

    def __len__(self) -> int:
        return len(self.x_NK)

    def take(self, index_B: np.ndarray, view: int | None) -> Tensor:
        """float32 (B, K); `view` None is the clean one."""
        if self._kept[0] != view:
            self._kept = (view, self.x_NK if view is None else self.view(view))
        return torch.from_numpy(self._kept[1][index_B])

    def view(self, view: int) -> np.ndarray:
        """All rows, corrupted: the slots of a column are swapped together."""
        count = len(self.x_NK)
        random = np.random.default_rng(key(self.seed, "corruption", view))
        swapped_NK = self.x_NK.copy()
        for place in range(len(self.names)):
            at_N = np.flatnonzero(random.random(count) < self.share)
            slots = np.flatnonzero(self.column_K == place)
            swapped_NK[np.ix_(at_N, slots)] = self.x_NK[np.ix_(random.integers(0, count, len(at_N)), slots)]
        return swapped_NK
