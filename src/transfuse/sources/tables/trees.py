"""Boosted trees as a body of plain tensors: rows in, the summed scores of the trees out. No library that grew them.

Every tree is a row of arrays; all trees walk down together. A row goes left where its number is at most the threshold,
or its category is in the node's set of bits; missing cells go the way that the node says, categories that are missing
or not known go right: LightGBM's rules (Ke et al., "LightGBM", NeurIPS 2017), so that scores are the same to rounding.
Letters: B rows, K numbers of a row, T trees, M nodes of a tree, L leaves, W words of all sets, O outputs.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from transfuse.core.errors import SourceError
from transfuse.core.nouns import Source
from transfuse.sources.tables.network import head_in
from transfuse.weights.matching import Match, match

_ROWS = 4096  # rows that walk at once
ZERO = 1e-35
"""Numbers this close to 0 count as 0 where missing cells are written as zeros."""
SIZES = ("outputs", "trees", "nodes", "leaves", "words")


class Forest(nn.Module):
    """Sums of trees, (B, K) to (B, O). Children below 0 are leaves: -1 is leaf 0."""

    def __init__(self, *, outputs: int, trees: int, nodes: int, leaves: int, words: int) -> None:
        super().__init__()
        self.outputs = outputs
        whole = {"feature", "left", "right", "missing", "set_start", "set_words"}
        for name in ("feature", "threshold", "left", "right", "missing", "default_left", "set_start", "set_words"):
            kind = torch.int64 if name in whole else torch.bool if name == "default_left" else torch.float64
            self.register_buffer(name, torch.zeros(trees, nodes, dtype=kind))
        self.register_buffer("value", torch.zeros(trees, leaves, dtype=torch.float64))
        self.register_buffer("sets", torch.zeros(words, dtype=torch.int64))
        self.register_buffer("output", torch.zeros(trees, dtype=torch.int64))
        self.register_buffer("start", torch.zeros(outputs, dtype=torch.float64))

    def layer_names(self) -> tuple[str, ...]:
        """It has no layers."""
        return ()

    def at(self, names: tuple[str, ...]) -> nn.Module:
        """There are no other depths."""
        raise SourceError("Trees have no depths.")

    def layer_of_parameter(self) -> dict[str, int]:
        """It has no parameters that move."""
        return {}

    def forward(self, x_BK: Tensor) -> Tensor:
        return torch.cat([self._scores(part) for part in x_BK.split(_ROWS)]).float()

    def _scores(self, x_BK: Tensor) -> Tensor:
        value: Tensor = self.value  # type: ignore[assignment]
        tree_T = torch.arange(len(value), device=value.device)
        at_BT = self._leaves(x_BK.double(), tree_T)
        leaf_BT = value[tree_T, at_BT]
        scores_BO = self.start.expand(len(x_BK), -1).clone()  # type: ignore[operator]
        return scores_BO.index_add_(1, self.output, leaf_BT)  # type: ignore[arg-type]

    def _leaves(self, x_BK: Tensor, tree_T: Tensor) -> Tensor:
        """The leaf at which every row ends in every tree, (B, T)."""
        at_BT = torch.zeros(len(x_BK), len(tree_T), dtype=torch.int64, device=x_BK.device)
        for _ in range(self.left.shape[1] + 1):  # type: ignore[index, operator]
            node_BT = at_BT.clamp(min=0)
            went_BT = torch.where(self._goes_left(x_BK, tree_T, node_BT), self._at(self.left, tree_T, node_BT),
                                  self._at(self.right, tree_T, node_BT))  # fmt: skip
            at_BT = torch.where(at_BT < 0, at_BT, went_BT)
            if bool((at_BT < 0).all()):
                break
        return -at_BT - 1

    def _at(self, array: Any, tree_T: Tensor, node_BT: Tensor) -> Tensor:
        return array[tree_T, node_BT]

    def _goes_left(self, x_BK: Tensor, tree_T: Tensor, node_BT: Tensor) -> Tensor:
        x_BT = x_BK.gather(1, self._at(self.feature, tree_T, node_BT))
        missing_BT, words_BT = self._at(self.missing, tree_T, node_BT), self._at(self.set_words, tree_T, node_BT)
        nan_BT = x_BT.isnan()
        x_BT = x_BT.nan_to_num(nan=0.0)
        gone_BT = torch.where(missing_BT == 1, x_BT.abs() <= ZERO, (missing_BT == 2) & nan_BT)
        by_number = torch.where(
            gone_BT, self._at(self.default_left, tree_T, node_BT), x_BT <= self._at(self.threshold, tree_T, node_BT)
        )
        if not len(self.sets):  # type: ignore[arg-type]
            return by_number
        code_BT = x_BT.clamp(-1, 2**40).long()  # numbers of other columns may be beyond any integer
        known_BT = ~nan_BT & (x_BT >= 0) & (code_BT // 32 < words_BT)
        start_BT = self._at(self.set_start, tree_T, node_BT)
        word_BT = self.sets[torch.where(known_BT, start_BT + code_BT // 32, 0)]  # type: ignore[index]
        in_set = known_BT & ((word_BT >> (code_BT.clamp(min=0) % 32)) & 1).bool()
        return torch.where(words_BT > 0, in_set, by_number)


def built(builder: Mapping[str, Any], *, trust_code: bool = False) -> nn.Module:
    """A forest of the right size, all of whose scores are 0."""
    return Forest(**{name: int(builder["trees"][name]) for name in SIZES})


def builder_of(forest: Forest) -> dict[str, Any]:
    """How it is built again."""
    trees, nodes = forest.left.shape  # type: ignore[misc]
    sizes = (forest.outputs, trees, nodes, forest.value.shape[1], len(forest.sets))  # type: ignore[arg-type, index]
    return {"trees": dict(zip(SIZES, map(int, sizes), strict=True))}


def parts(source: Source, tensors: Mapping[str, Tensor] | None) -> tuple[nn.Module, nn.Module | None, Match | None]:
    """The forest with its tensors; its head only passes scores on."""
    forest = built(source.builder)
    if tensors is None:
        return forest, None, None
    own = {name.removeprefix("body."): tensor for name, tensor in tensors.items() if name.startswith("body.")}
    found = match(own, forest.state_dict())
    forest.load_state_dict(own)
    return forest, head_in(tensors), found
