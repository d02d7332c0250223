"""Features of several sources as one: added, gated or attended to, in a space that all are projected into.

add: h = sum of P_i x_i. gated: h = sum of sigmoid(G_i [p_1 .. p_k]) * tanh(p_i) with p_i = P_i x_i (J. Arevalo et al.,
"Gated multimodal units for information fusion", arXiv 1702.01992; the gates see projections in place of all features,
which keeps them small). attention: h = sum of softmax_i(q . tanh(p_i)) p_i, with one learnt query q. In training whole
sources are dropped, never all (modality dropout: N. Neverova et al., "ModDrop", arXiv 1501.00102): a naive join learns
to lean on the source that is easiest. A dropped source stands at its mean.
Letters: B examples, D features of all sources, W of one, E of the space, k sources.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from transfuse.core.digests import of_value
from transfuse.core.errors import UsageError
from transfuse.core.tables import chosen
from transfuse.sources.opening import Opened

_LEAST = 0.05
"""Share of a source's mean deviation below which no feature is divided by its own."""
KINDS = ("add", "gated", "attention")


class Join(nn.Module):
    """Features side by side (B, D) to joined ones (B, E)."""

    mean_D: Tensor
    scale_D: Tensor

    def __init__(self, kind: str, widths: Sequence[int], size: int, drop: float = 0.0) -> None:
        super().__init__()
        if not 0 <= drop < 1 or size < 1:
            raise UsageError(f"`drop` must be in 0..1 and `size` at least 1, but they are {drop} and {size}.")
        self.kind, self.widths, self.size, self.drop = chosen("join", kind, KINDS), list(widths), size, drop
        self.register_buffer("mean_D", torch.zeros(sum(widths)))
        self.register_buffer("scale_D", torch.ones(sum(widths)))
        self.projections = nn.ModuleList(nn.Linear(width, size) for width in widths)
        if kind == "gated":
            self.gates = nn.Linear(len(widths) * size, len(widths) * size)
        elif kind == "attention":
            self.query = nn.Parameter(torch.zeros(size))

    def standardise(self, x_ND: np.ndarray) -> None:
        """Take mean and deviation of these features, so that a source with large numbers is not louder.

        What hardly varies is not blown up: in another number format the same source gives it a little otherwise.
        """
        self.mean_D.copy_(torch.from_numpy(x_ND.mean(0)))
        deviation_D = x_ND.std(0)
        parts = np.split(deviation_D, np.cumsum(self.widths)[:-1])
        least_D = np.concatenate([np.full(len(one), _LEAST * np.sqrt(np.mean(one**2))) for one in parts])
        deviation_D = np.maximum(deviation_D, np.maximum(least_D, 1e-6))
        widths_D = np.repeat(self.widths, self.widths)  # a projection of many features is as large as one of few
        self.scale_D.copy_(torch.from_numpy(deviation_D * np.sqrt(widths_D)))

    def forward(self, x_BD: Tensor) -> Tensor:
        given = ((x_BD - self.mean_D) / self.scale_D).split(self.widths, 1)
        p_BkE = torch.stack([project(x) for project, x in zip(self.projections, given, strict=True)], 1)
        if self.training and self.drop:
            p_BkE = p_BkE * self._kept(len(x_BD))[:, :, None]
        if self.kind == "add":
            return p_BkE.sum(1)
        if self.kind == "gated":
            gates_BkE = torch.sigmoid(self.gates(p_BkE.flatten(1))).unflatten(1, (len(self.widths), self.size))
            return (gates_BkE * torch.tanh(p_BkE)).sum(1)
        weights_Bk = torch.softmax(torch.tanh(p_BkE) @ self.query, 1)
        return (weights_Bk[:, :, None] * p_BkE).sum(1)

    def _kept(self, count: int) -> Tensor:
        """(B, k) of 0 and 1: which sources an example keeps, at least one."""
        device = self.mean_D.device
        kept_Bk = torch.rand(count, len(self.widths), device=device) >= self.drop
        alone_B = torch.randint(len(self.widths), (count,), device=device)
        none_B = ~kept_Bk.any(1)
        kept_Bk[none_B] = nn.functional.one_hot(alone_B[none_B], len(self.widths)).bool()
        return kept_Bk.float()


class JoinedBody(nn.Module):
    """A body of several sources and the join of their features."""

    def __init__(self, of: nn.Module, join: Join) -> None:
        super().__init__()
        self.of, self.join = of, join

    def forward(self, x: Tensor) -> Tensor:
        return self.join(self.of(x))


def joined(together: Opened, join: Join) -> Opened:
    """Sources side by side under a join: a source again."""
    body = JoinedBody(together.body, join).eval()
    facts = {"kind": join.kind, "widths": join.widths, "size": join.size}
    source = replace(
        together.source,
        name=f"{join.kind} of {together.source.name}",
        builder={"joined": {"of": together.source.builder, **facts}},
        digest=of_value(["joined", together.source.digest, facts]),
        parameters=sum(p.numel() for p in body.parameters()),
    )
    return replace(together, source=source, body=body, source_head=None, depths=(), feature_size=join.size)


def rebuilt(described: Mapping[str, Any], rebuild: Callable[[Mapping[str, Any]], nn.Module]) -> JoinedBody:
    """The body that a builder's `joined` entry describes; `rebuild` makes the one inside."""
    return JoinedBody(rebuild(described["of"]), Join(described["kind"], described["widths"], described["size"]))
