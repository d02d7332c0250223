"""The network for tables: its encoding by the paper's formula, and what is carried over."""

import itertools
import math

import numpy as np
import pytest
import torch

from transfuse.core.nouns import Column, Source, TablePreprocessing
from transfuse.sources.tables import network
from transfuse.sources.tables.network import OneHotBody, TabularBody, network_builder, set_edges, sizes_of
from transfuse.tasks.tables.encoding import QUANTILES

NUMBER = Column(name="age", role="numeric", mean=10.0, std=2.0, quantiles=tuple(np.linspace(0, 20, QUANTILES).tolist()))
COLOUR = Column(name="colour", role="categorical", values=("red", "blue", "green"), shares=(0.5, 0.3, 0.2))


def body_of(*columns: Column) -> TabularBody:
    torch.manual_seed(0)
    preprocessing = TablePreprocessing(columns=columns)
    body = network.built(network_builder(preprocessing, hidden=(8,)))
    assert isinstance(body, TabularBody)
    set_edges(body, preprocessing)
    return body.eval()


def piecewise(value: float, edges: list[float]) -> list[float]:
    """Equation 1 of arXiv 2203.05556, kept within the outermost edges."""
    return [min(max((value - low) / (high - low), 0.0), 1.0) for low, high in itertools.pairwise(edges)]


def test_numbers_are_encoded_as_in_the_paper() -> None:
    body = body_of(NUMBER)
    edges = [(q - 10) / 2 for q in NUMBER.quantiles]
    for value in (-9.0, -1.234, 0.0, 2.5, 7.0):
        filled = torch.tensor(piecewise(value, edges))
        bounded = min(max(value, edges[0]), edges[-1])
        expected = torch.relu(filled @ body.bins_KQd[0] + bounded * body.slope_Kd[0] + body.bias_Kd[0])
        found = body.embedded(torch.tensor([[value]]))[0, 0]
        torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_missing_unknown_and_known_categories_are_told_apart() -> None:
    body = body_of(NUMBER, COLOUR)
    found = body.embedded(torch.tensor([[0.0, code] for code in (math.nan, -1, 0, 1, 2)]))[:, 1]
    table = body.values[0]
    assert torch.equal(found, table[[1, 0, 2, 3, 4]])
    assert torch.equal(body.embedded(torch.tensor([[math.nan, 0.0]]))[0, 0], body.missing_Kd[0])


def test_slots_stay_in_the_order_of_the_columns() -> None:
    body = body_of(COLOUR, NUMBER)
    found = body.embedded(torch.tensor([[1.0, 0.5]]))
    assert torch.equal(found[0, 0], body.values[0][3])


def test_what_an_earlier_table_taught_is_kept_when_columns_and_categories_are_added() -> None:
    before = body_of(NUMBER, COLOUR)
    with torch.no_grad():
        before.missing_Kd += 0.3
    wider = Column(
        name="colour", role="categorical", values=("red", "blue", "green", "grey"), shares=(0.4, 0.3, 0.2, 0.1)
    )
    size = Column(name="size", role="numeric", quantiles=NUMBER.quantiles)
    columns = TablePreprocessing(columns=(NUMBER, wider, size))
    old = network_builder(TablePreprocessing(columns=(NUMBER, COLOUR)), hidden=(8,))["tabular"]
    source = Source(reference="x", name="x", modality="table", origin="table", preprocessing=columns, digest="",
                    builder={"tabular": {**old, "slots": sizes_of(columns)}})  # fmt: skip
    tensors = {f"body.{name}": tensor for name, tensor in before.state_dict().items()}
    after, head, found = network.parts(source, tensors)
    rows = torch.tensor([[0.5, 0.0], [math.nan, 2.0], [-1.0, math.nan]])
    more = torch.cat([rows, torch.tensor([[3.0], [math.nan], [0.0]])], 1)
    torch.testing.assert_close(after.eval()(more), before(rows))
    assert head is None and "values.0" in found.mismatched
    grey = after.embedded(torch.tensor([[0.0, 3.0, 0.0]]))[0, 1]
    torch.testing.assert_close(grey, before.values[0][2:].mean(0))  # as the mean known category


def test_plain_columns() -> None:
    found = OneHotBody([0, 2])(torch.tensor([[1.5, 1.0], [math.nan, math.nan], [0.0, -1.0], [0.0, 9.0]]))
    assert found.tolist() == [[1.5, 0, 0, 1, 0], [0, 1, 0, 0, 1], [0, 0, 0, 0, 0], [0, 0, 0, 0, 0]]


@pytest.mark.parametrize("count", [1, 10_000])
def test_wide_tables_get_narrow_slots(count: int) -> None:
    columns = TablePreprocessing(columns=tuple(Column(name=str(k), role="numeric") for k in range(count)))
    width = network_builder(columns)["tabular"]["width"]
    assert width == (16 if count == 1 else 2)
