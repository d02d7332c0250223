"""Rows whose columns go through networks of their own: plain columns, texts, pictures and sounds, side by side.

Letters: B rows, W numbers of a row, D features of one column.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from transfuse.core.digests import of_value
from transfuse.core.errors import UsageError
from transfuse.core.nouns import JointPreprocessing, Part, TablePreprocessing
from transfuse.sources import inputs, opening
from transfuse.sources.opening import Opened
from transfuse.sources.tables import parts


class CellBody(nn.Module):
    """Features of the texts, pictures or sounds of one column, and a mark for missing cells: (B, W) to (B, D + 1).

    In the place of the features of a missing cell stand the mean ones of the training rows.
    """

    mean_D: Tensor

    def __init__(self, of: nn.Module, shape: Sequence[int], features: int) -> None:
        super().__init__()
        self.of, self.shape = of, tuple(shape)
        self.register_buffer("mean_D", torch.zeros(features))

    def forward(self, x_BW: Tensor) -> Tensor:
        gone_B = x_BW[:, 0].isnan()
        found_BD = self.mean_D.repeat(len(x_BW), 1)
        if not gone_B.all():
            found_BD[~gone_B] = self.of(self._given(x_BW[~gone_B])).float()
        return torch.cat([found_BD, gone_B[:, None].float()], 1)

    def _given(self, x_BW: Tensor) -> Tensor:
        """Cells as the network wants them: pixels (B, c, h, w), or token ids (B, T)."""
        if len(self.shape) == 1:
            return inputs.trimmed(x_BW.long())
        return x_BW.unflatten(1, self.shape)


class RowBody(nn.Module):
    """Features of several parts of a row, each of its numbers: (B, sum of W) to (B, sum of D)."""

    def __init__(self, parts: Sequence[nn.Module], widths: Sequence[int]) -> None:
        super().__init__()
        self.parts, self.widths = nn.ModuleList(parts), list(widths)

    def forward(self, x_BW: Tensor) -> Tensor:
        given = x_BW.split(self.widths, 1)
        return torch.cat([part(x) for part, x in zip(self.parts, given, strict=True)], 1)


def of_column(opened: Opened, column: str) -> Opened:
    """A source of texts, pictures or sounds as one of tables: it sees one column of them."""
    if isinstance(opened.source.preprocessing, JointPreprocessing):
        raise UsageError(f"A column must have one network, but '{opened.source.name}' is an ensemble. Leave it out.")
    part = Part(column=column, preprocessing=opened.source.preprocessing)  # type: ignore[arg-type]
    preprocessing = TablePreprocessing(columns=(), parts=(part,))
    shape = parts.shape(part)
    facts = {"of": opened.source.builder, "shape": list(shape), "features": opened.feature_size}
    source = replace(
        opened.source,
        name=f"{column} by {opened.source.name}",
        modality="table",
        origin="mixed",
        builder={"cell": facts},
        weights=None,
        preprocessing=preprocessing,
        digest=of_value(["cell", opened.source.digest, opened.source.builder, inputs.identity(preprocessing)]),
    )
    body = CellBody(opened.body, shape, opened.feature_size).eval()
    size = opened.feature_size + 1
    return Opened(source=source, body=body, source_head=None, match=opened.match, depths=(), feature_size=size)


def side_by_side(parts: Sequence[Opened]) -> Opened:
    """Sources that see different columns as one that sees the row. Plain columns, if there are any, come first."""
    given = [part.source.preprocessing for part in parts]
    assert all(isinstance(preprocessing, TablePreprocessing) for preprocessing in given)
    columns = tuple(column for preprocessing in given for column in preprocessing.columns)  # type: ignore[union-attr]
    cells = tuple(part for preprocessing in given for part in preprocessing.parts)  # type: ignore[union-attr]
    widths = [inputs.blank(preprocessing).shape[1] for preprocessing in given]
    body = RowBody([part.body for part in parts], widths)
    facts = [{"builder": part.source.builder, "width": width} for part, width in zip(parts, widths, strict=True)]
    return opening.side_by_side(
        parts,
        body,
        origin="mixed",
        builder={"row": {"parts": facts}},
        preprocessing=TablePreprocessing(columns=columns, parts=cells),
        digest=of_value(["row", [part.source.digest for part in parts]]),
    )


def rebuilt_cell(described: Mapping[str, Any], rebuild: Callable[[Mapping[str, Any]], nn.Module]) -> CellBody:
    """The body that a builder's `cell` entry describes; `rebuild` makes the one inside."""
    return CellBody(rebuild(described["of"]), described["shape"], described["features"])


def rebuilt_row(described: Mapping[str, Any], rebuild: Callable[[Mapping[str, Any]], nn.Module]) -> RowBody:
    """The body that a builder's `row` entry describes; `rebuild` makes its parts."""
    parts = described["parts"]
    return RowBody([rebuild(part["builder"]) for part in parts], [part["width"] for part in parts])
