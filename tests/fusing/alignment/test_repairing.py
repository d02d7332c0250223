"""REPAIR brings channels back to the parents' moments; barriers are measured as the paper says."""

import numpy as np
import pytest
import torch
from torch import nn

from transfuse.fusing.alignment.barrier import barrier
from transfuse.fusing.alignment.repairing import mended, repaired
from transfuse.fusing.alignment.symmetry import symmetry_of
from transfuse.fusing.statistics.batches import estimated_anew


def plain(seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(96, 7), nn.Tanh(), nn.Linear(7, 3))


def moments(network, x):
    """Mean and deviation of each channel of the two hidden layers, by hand."""
    with torch.no_grad():
        first, second = network[0](x), network[:4](x)
    flat = first.movedim(1, 0).flatten(1)
    return [flat.mean(1), second.mean(0)], [flat.std(1, unbiased=False), second.std(0, unbiased=False)]


def test_layers_answer_with_the_parents_mean_moments():
    x = torch.randn(200, 1, 6, 6, generator=torch.Generator().manual_seed(0))
    parents = [plain(0), plain(1)]
    states = [parent.state_dict() for parent in parents]
    merged = plain(2)
    merged.load_state_dict({name: (states[0][name] + states[1][name]) / 2 for name in states[0]})
    before = moments(merged, x)
    symmetry = symmetry_of(merged, x)
    state = repaired(merged.state_dict(), [(0.5, s) for s in states], symmetry, [x])
    merged.load_state_dict(state)
    goals = [
        [sum(pair) / 2 for pair in zip(*own, strict=True)]
        for own in zip(*(moments(p, x) for p in parents), strict=True)
    ]
    for have, want in zip(moments(merged, x), goals, strict=True):
        for a, b in zip(have, want, strict=True):
            torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-3)
    assert not torch.allclose(before[1][0], goals[1][0], rtol=0.05)
    assert torch.equal(state["5.weight"], (states[0]["5.weight"] + states[1]["5.weight"]) / 2)  # the last layer stays


def test_batch_normalisation_is_estimated_anew():
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 2)).eval()
    batches = [torch.randn(50, 3, generator=torch.Generator().manual_seed(s)) * 3 + 1 for s in range(4)]
    assert estimated_anew(network, [*batches, torch.zeros(1, 3)]) == 200
    with torch.no_grad():
        hidden = torch.stack([network[0](batch) for batch in batches])
    torch.testing.assert_close(network[1].running_mean, hidden.mean((0, 1)))
    torch.testing.assert_close(network[1].running_var, hidden.var(1).mean(0))
    assert not network[1].training and network[1].momentum == 0.1
    symmetry = symmetry_of(network, batches[0])
    network[1].running_mean.zero_()
    mended(network, (), symmetry, batches)
    torch.testing.assert_close(network[1].running_mean, hidden.mean((0, 1)))


def test_the_barrier_of_a_parabola():
    network = nn.Linear(1, 1, bias=False)
    a, b = {"weight": torch.tensor([[-1.0]])}, {"weight": torch.tensor([[3.0]])}
    x, y = torch.ones(10, 1), torch.ones(10)
    found = barrier(
        network, a, b, [(x, y)], loss=lambda out, y: 4 - (out[:, 0] - y) ** 2, alphas=[i / 10 for i in range(11)]
    )
    assert found.value == pytest.approx(4.0) and found.alpha == 0.5 and found.n == 10  # 4 in the middle, 0 at the ends
    assert found.losses[0] == pytest.approx(0.0) and found.low == pytest.approx(4.0)
    kept = network.weight.clone()
    mending = barrier(
        network,
        a,
        b,
        [(x, y)],
        loss=lambda out, y: (out[:, 0] - y) ** 2,
        mend=lambda n, alpha: n.weight.data.fill_(1.0),
    )
    assert mending.value == pytest.approx(-4.0) and torch.equal(network.weight, kept)


def test_an_interval_over_examples():
    network = nn.Linear(1, 1, bias=False)
    a, b = {"weight": torch.tensor([[0.0]])}, {"weight": torch.tensor([[2.0]])}
    x = torch.from_numpy(np.random.default_rng(0).normal(size=(400, 1))).float()
    found = barrier(network, a, b, [(x, x[:, 0])], loss=lambda out, y: (out[:, 0] * y).sin())
    values = np.sin(x[:, 0].double().numpy() ** 2 * 2 * found.alpha) - found.alpha * np.sin(
        2 * x[:, 0].double().numpy() ** 2
    )
    assert found.value == pytest.approx(values.mean(), abs=1e-5)
    assert found.high - found.value == pytest.approx(1.96 * values.std(ddof=1) / 20, rel=1e-4)
