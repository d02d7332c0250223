"""Cells that are swapped and foretold: what is swapped, and what the loss is by its definition."""

import math

import numpy as np
import torch

from transfuse.core.nouns import Column, TablePreprocessing
from transfuse.sources.tables.masking import Corrupted, Reconstructing
from transfuse.sources.tables.network import TabularBody, built, network_builder, set_edges
from transfuse.tasks.tables.encoding import QUANTILES

NUMBER = Column(name="age", role="numeric", mean=0.0, std=1.0, quantiles=tuple(np.linspace(0, 1, QUANTILES).tolist()))
COLOUR = Column(name="colour", role="categorical", values=("red", "blue", "green"), shares=(0.5, 0.3, 0.2))


def network() -> Reconstructing:
    torch.manual_seed(0)
    preprocessing = TablePreprocessing(columns=(COLOUR, NUMBER))
    body = built(network_builder(preprocessing, hidden=(8,)))
    assert isinstance(body, TabularBody)
    set_edges(body, preprocessing)
    return Reconstructing(body, 8).eval()


def test_the_loss_is_one_for_knowing_nothing_and_leaves_missing_cells_out() -> None:
    net = network()
    with torch.no_grad():
        for layer in (net.numbers, net.categories):
            layer.weight.zero_()
            layer.bias.zero_()
    even = torch.tensor([[k % 3, (k + 0.5) / 300] for k in range(300)])
    assert abs(net.loss(even, even).item() - 1) < 1e-3
    holes = torch.cat([even, torch.full((50, 2), math.nan), torch.tensor([[-1.0, math.nan]])])
    assert abs(net.loss(holes, holes).item() - net.loss(even, even).item()) < 1e-6


def test_the_loss_by_its_definition() -> None:
    net, true = network(), torch.tensor([[0.0, 0.25], [2.0, 0.75]])
    numbers, logits = net(true)
    squares = 12 * ((numbers[:, 0] - torch.tensor([-0.25, 0.25])) ** 2).mean()
    chances = torch.softmax(logits, 1)
    crossed = -(chances[0, 0].log() + chances[1, 2].log()) / 2 / math.log(3)
    torch.testing.assert_close(net.loss(true, true), (squares + crossed) / 2, atol=1e-5, rtol=1e-5)


def test_cells_come_from_their_own_column_and_slots_of_one_column_stay_together() -> None:
    rows = np.arange(3000, dtype=np.float32).reshape(1000, 3)  # column by its number modulo 3
    inputs = Corrupted(rows, ["date", "date", "age"], 0.3, seed=4)
    seen = inputs.take(np.arange(1000), 7).numpy()
    assert (seen % 3 == np.arange(3)).all()
    assert (seen[:, 1] - seen[:, 0] == 1).all()
    changed = (seen != rows).mean(0)
    assert (np.abs(changed - 0.3) < 0.06).all() and (seen[:, 2] != seen[:, 0] + 2).any()


def test_views_are_functions_of_seed_and_view() -> None:
    rows = np.arange(60, dtype=np.float32).reshape(20, 3)
    one, other = (Corrupted(rows, ["a", "b", "c"], 0.5, seed=1) for _ in range(2))
    other.take(np.array([3]), 9)
    few = np.array([5, 2])
    assert torch.equal(one.take(few, 2), other.take(np.arange(20), 2)[few])
    assert not torch.equal(one.take(few, 2), one.take(few, 3))
    assert torch.equal(one.take(few, None), torch.from_numpy(rows[few]))
