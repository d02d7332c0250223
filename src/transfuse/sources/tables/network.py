"""The network for tables: every number and category becomes a short vector, an MLP sees them side by side.

Numbers by piecewise-linear encoding, then a linear layer of their own (Gorishniy, Rubachev, Babenko, "On embeddings for
numerical features in tabular deep learning", arXiv 2203.05556, equation 1 and MLP-PLR without periods); categories by a
vector a value. Changed: missing cells and unknown categories have vectors of their own; numbers beyond the outermost
quantiles count as the quantile; the plain number is added, so that it is not lost between bins.

All tensors grow at their end only when a table gets more columns or categories: what an earlier table taught is the
leading part of every tensor, which is how it is carried over.
Letters: B rows, K slots (numbers of a row), Q quantiles, d width of a slot, D features.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from transfuse.core.errors import SourceError
from transfuse.core.nouns import Source, TablePreprocessing
from transfuse.tasks.tables.encoding import QUANTILES, Slot, slots_of
from transfuse.weights.matching import Match, match

_WIDE = 2048  # numbers that the MLP sees at once, about: slots get narrower in tables of many columns
OTHERS = 2
"""Vectors before those of the categories: unknown, missing."""


class TabularBody(nn.Module):
    """(B, K) to (B, D)."""

    def __init__(self, slots: Sequence[int], width: int, hidden: Sequence[int], dropout: float) -> None:
        super().__init__()
        numeric = [place for place, size in enumerate(slots) if not size]
        categorical = [place for place, size in enumerate(slots) if size]
        order = torch.tensor(numeric + categorical).argsort()
        for name, places in (("numeric", numeric), ("categorical", categorical)):
            self.register_buffer(name, torch.tensor(places, dtype=torch.int64), persistent=False)
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("edges_KQ", torch.linspace(0, 1, QUANTILES).repeat(len(numeric), 1))
        scale = width**-0.5
        self.bins_KQd = nn.Parameter(torch.randn(len(numeric), QUANTILES - 1, width) * scale / 4)
        self.slope_Kd = nn.Parameter(torch.randn(len(numeric), width) * scale)
        self.bias_Kd = nn.Parameter(torch.zeros(len(numeric), width))
        self.missing_Kd = nn.Parameter(torch.zeros(len(numeric), width))
        self.values = nn.ParameterList(torch.randn(OTHERS + slots[place], width) * scale for place in categorical)
        sizes = [len(slots) * width, *hidden]
        layers: list[nn.Module] = []
        for before, after in itertools.pairwise(sizes):
            layers += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(dropout)]
        self.layers = nn.Sequential(*layers)

    def forward(self, x_BK: Tensor) -> Tensor:
        return self.layers(self.embedded(x_BK).flatten(1))

    def layer_names(self) -> tuple[str, ...]:
        """It is read at its end only."""
        return ()

    def at(self, names: tuple[str, ...]) -> nn.Module:
        """There are no other depths."""
        raise SourceError("The network for tables is read at its end only.")

    def layer_of_parameter(self) -> dict[str, int]:
        """Vectors of slots 0, then the layers of the MLP."""
        return {
            name: 1 + int(name.split(".")[1]) // 3 if name.startswith("layers.") else 0
            for name, _ in self.named_parameters()
        }

    def embedded(self, x_BK: Tensor) -> Tensor:
        """Every slot as a vector, (B, K, d)."""
        parts = []
        if len(self.numeric):  # type: ignore[arg-type]
            parts.append(self._numbers(x_BK[:, self.numeric]))  # type: ignore[index]
        if len(self.values):
            codes = x_BK[:, self.categorical]  # type: ignore[index]
            known = (codes.nan_to_num(nan=0.0) + OTHERS).long()
            places = torch.where(codes.isnan(), 1, torch.where(codes < 0, 0, known))
            parts.append(torch.stack([table[places[:, k]] for k, table in enumerate(self.values)], 1))
        return torch.cat(parts, 1)[:, self.order]  # type: ignore[index]

    def _numbers(self, x_BK: Tensor) -> Tensor:
        gone = x_BK.isnan()
        x_BK = x_BK.nan_to_num(nan=0.0)
        low, high = self.edges_KQ[:, :-1], self.edges_KQ[:, 1:]  # type: ignore[index]
        filled_BKQ = ((x_BK[..., None] - low) / (high - low).clamp(min=1e-6)).clamp(0, 1)
        vectors = torch.einsum("bkq,kqd->bkd", filled_BKQ, self.bins_KQd)
        bounded = torch.minimum(torch.maximum(x_BK, low[:, 0]), high[:, -1])[..., None]
        vectors = torch.relu(vectors + bounded * self.slope_Kd + self.bias_Kd)
        return torch.where(gone[..., None], self.missing_Kd, vectors)


class OneHotBody(nn.Module):
    """Plain columns for linear models: numbers, 0 where missing and a mark for it; a 0 or 1 for each category."""

    def __init__(self, slots: Sequence[int]) -> None:
        super().__init__()
        self.slots = tuple(slots)

    def layer_names(self) -> tuple[str, ...]:
        """It has no layers."""
        return ()

    def at(self, names: tuple[str, ...]) -> nn.Module:
        """There are no other depths."""
        raise SourceError("Plain columns have no depths.")

    def layer_of_parameter(self) -> dict[str, int]:
        """It has no parameters."""
        return {}

    def forward(self, x_BK: Tensor) -> Tensor:
        parts = []
        for place, size in enumerate(self.slots):
            x_B = x_BK[:, place]
            gone = x_B.isnan()
            if size:
                code = x_B.nan_to_num(nan=0.0).long()
                code = torch.where(gone, size, torch.where((code < 0) | (code >= size), size + 1, code))
                parts.append(nn.functional.one_hot(code, size + 2)[:, : size + 1].float())
            else:
                parts.append(torch.stack([x_B.nan_to_num(nan=0.0), gone.float()], 1))
        return torch.cat(parts, 1)


def sizes_of(preprocessing: TablePreprocessing) -> list[int]:
    """Categories of each slot, 0 for numbers; a categorical slot without a value counts as one of one."""
    roles = {column.name: column.role for column in preprocessing.columns}
    return [slot.values or int(roles[slot.column] == "categorical") for slot in slots_of(preprocessing)]


def network_builder(preprocessing: TablePreprocessing, hidden: Sequence[int] = (256, 256)) -> dict[str, Any]:
    """How a network for these columns is built."""
    slots = sizes_of(preprocessing)
    width = max(2, min(16, _WIDE // len(slots)))
    return {"tabular": {"slots": slots, "width": width, "hidden": list(hidden), "dropout": 0.1}}


def built(builder: Mapping[str, Any], *, trust_code: bool = False) -> nn.Module:
    """The body with random weights."""
    if "onehot" in builder:
        return OneHotBody(builder["onehot"])
    return TabularBody(**builder["tabular"])


def parts(source: Source, tensors: Mapping[str, Tensor] | None) -> tuple[nn.Module, nn.Module | None, Match | None]:
    """The body for the source's columns; tensors of an earlier table fill the leading part of each, where they fit."""
    body = built(source.builder)
    if isinstance(body, OneHotBody):
        return body, head_in(tensors), None
    assert isinstance(body, TabularBody) and isinstance(source.preprocessing, TablePreprocessing)
    set_edges(body, source.preprocessing)
    if tensors is None:
        return body, None, None
    own = {name.removeprefix("body."): tensor for name, tensor in tensors.items() if name.startswith("body.")}
    found = match(own, body.state_dict(), allow=(".*",))
    with torch.no_grad():
        for name, tensor in body.state_dict().items():
            if name in own and name != "edges_KQ":
                tensor[tuple(slice(0, size) for size in own[name].shape)] = own[name]
        body.edges_KQ[: len(own["edges_KQ"])] = own["edges_KQ"]  # type: ignore[index, operator]
        _quiet_new_columns(body, own)
    return body, head_in(tensors), found


def set_edges(body: TabularBody, preprocessing: TablePreprocessing) -> None:
    """The quantiles of the columns as edges of the bins; parts of dates and words of texts keep even ones."""
    columns = {column.name: column for column in preprocessing.columns}
    slots: list[Slot] = [
        s for s, size in zip(slots_of(preprocessing), sizes_of(preprocessing), strict=True) if not size
    ]
    with torch.no_grad():
        for place, slot in enumerate(slots):
            column = columns[slot.column]
            if column.quantiles and slot.name == column.name:
                edges = (torch.tensor(column.quantiles, dtype=torch.float64) - column.mean) / column.std
                body.edges_KQ[place] = edges.float()  # type: ignore[index, operator]


def _quiet_new_columns(body: TabularBody, own: Mapping[str, Tensor]) -> None:
    """New columns start without a say, so that the body answers as the source did; new categories as the mean one."""
    first = body.layers[0]
    assert isinstance(first, nn.Linear)
    known = own["layers.0.weight"].shape[1]
    first.weight[:, known:] = 0
    for place, table in enumerate(body.values):
        before = own.get(f"values.{place}")
        if before is not None and len(before) < len(table):
            table[len(before) :] = before[OTHERS:].mean(0)


def head_in(tensors: Mapping[str, Tensor] | None) -> nn.Module | None:
    """The linear head among a saved Model's tensors, if there is one."""
    weight = (tensors or {}).get("head.weight")
    if tensors is None or weight is None or "head.bias" not in tensors:
        return None
    head = nn.Linear(weight.shape[1], weight.shape[0])
    head.load_state_dict({"weight": weight, "bias": tensors["head.bias"]})
    return head
