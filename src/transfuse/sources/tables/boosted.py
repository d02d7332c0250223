"""Trees on top of a source: they see the row and what the source answers, and may start from its answer.

Letters: B rows, K numbers of a row, S outputs of the source, O outputs.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from transfuse.core.errors import SourceError
from transfuse.core.nouns import Source
from transfuse.sources.network import Network
from transfuse.sources.opening import rebuild
from transfuse.sources.tables.network import head_in
from transfuse.sources.tables.trees import SIZES, Forest
from transfuse.weights.matching import Match, match


class Boosted(nn.Module):
    """`forest([x, of(x)]) + gain * of(x) + offset`, (B, K) to (B, O); the last two only when it starts there."""

    def __init__(self, of: nn.Module, forest: Forest, *, columns: int, outputs: int, starts: bool) -> None:
        super().__init__()
        self.of, self.forest, self.columns, self.starts = of, forest, columns, starts
        self.register_buffer("gain", torch.ones(outputs))
        self.register_buffer("offset", torch.zeros(outputs))

    def layer_names(self) -> tuple[str, ...]:
        """It has no layers."""
        return ()

    def at(self, names: tuple[str, ...]) -> nn.Module:
        """There are no other depths."""
        raise SourceError("Trees have no depths.")

    def layer_of_parameter(self) -> dict[str, int]:
        """The source below the trees."""
        return {name: 0 for name, _ in self.named_parameters()}

    def forward(self, x_BK: Tensor) -> Tensor:
        known_BS = self.of(x_BK)
        scores_BO = self.forest(torch.cat([x_BK[:, : self.columns], known_BS], 1))
        return scores_BO + known_BS * self.gain + self.offset if self.starts else scores_BO


def builder_of(body: Boosted, of: Mapping[str, Any], features: int) -> dict[str, Any]:
    """How it is built again; `of` builds the source's body, which gives `features` numbers."""
    trees, nodes = body.forest.left.shape  # type: ignore[misc]
    forest = body.forest
    sizes = (forest.outputs, trees, nodes, forest.value.shape[1], len(forest.sets))  # type: ignore[arg-type, index]
    facts = {"columns": body.columns, "starts": body.starts, "features": features, "outputs": len(body.gain)}  # type: ignore[arg-type]
    return {"boosted": {"of": dict(of), "forest": dict(zip(SIZES, map(int, sizes), strict=True)), **facts}}


def built(builder: Mapping[str, Any], *, trust_code: bool = False) -> nn.Module:
    """The body with random weights."""
    facts = builder["boosted"]
    of = Network(rebuild(facts["of"], trust_code=trust_code), nn.Linear(facts["features"], facts["outputs"]))
    forest = Forest(**{name: int(facts["forest"][name]) for name in SIZES})
    return Boosted(of, forest, columns=facts["columns"], outputs=facts["outputs"], starts=facts["starts"])


def parts(source: Source, tensors: Mapping[str, Tensor] | None) -> tuple[nn.Module, nn.Module | None, Match | None]:
    """The body with its tensors."""
    body = built(source.builder)
    if tensors is None:
        return body, None, None
    own = {name.removeprefix("body."): tensor for name, tensor in tensors.items() if name.startswith("body.")}
    found = match(own, body.state_dict())
    body.load_state_dict(own)
    return body, head_in(tensors), found
