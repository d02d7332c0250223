"""Layer-wise rates fall towards the input; batch norms do as they are told."""

import pytest
import torch

from transfuse.core.nouns import Source, Task
from transfuse.core.runs import Run
from transfuse.sources.depths import deep, spread
from transfuse.sources.network import Network, new_head
from transfuse.sources.opening import open_source
from transfuse.training.options import Fit
from transfuse.transferring.methods.finetune import finetune
from transfuse.tuning.moving import batch_norms, layerwise


def rates(network: Network, decay: float) -> dict[str, float]:
    moves = layerwise(network, decay=decay, batch_norm="frozen")
    named = [(name, group.rate_scale) for group in moves.groups for name in group.names]
    assert sorted(name for name, _ in named) == sorted(name for name, _ in network.named_parameters())
    return dict(named)


@pytest.mark.parametrize("deeply", [False, True])
def test_rates_decay_from_the_head_to_the_input(family: Source, deeply: bool):
    opened = open_source(family)
    first, last = (next(iter(opened.body.state_dict())), list(dict(opened.body.named_parameters()))[-1])
    if deeply:
        opened, first, last = deep(opened, spread(opened.depths, 4)), f"of.{first}", f"of.{last}"
    found = rates(Network(opened.body, new_head(opened.feature_size, 3)), 0.5)
    assert found["head.weight"] == found["head.bias"] == 1.0
    assert all(0 < rate <= 0.5 for name, rate in found.items() if name.startswith("body."))
    assert found[f"body.{first}"] == min(found.values()) < found[f"body.{last}"]
    levels = sorted(set(found.values()), reverse=True)
    assert levels == [0.5**power for power in range(len(levels))] and len(levels) >= 4


def test_no_decay_moves_all_at_one_rate(vit: Source):
    opened = open_source(vit)
    assert set(rates(Network(opened.body, new_head(opened.feature_size, 3)), 1.0).values()) == {1.0}


@pytest.mark.parametrize("choice", ["frozen", "adapt"])
def test_batch_norm_statistics(small: Source, task: Task, choice: str):
    fit = Fit(steps=4, rate=1e-3, batch_size=8, average=0.0)
    outcome = finetune(small, task, run=Run(), fit=fit, batch_norm=choice, interpolate=False)
    before, after = open_source(small).body.state_dict(), outcome.network.body.state_dict()
    statistics = [name for name in before if "running" in name]
    same = [torch.equal(before[name], after[name]) for name in statistics]
    assert len(same) == 6
    assert all(same) if choice == "frozen" else not any(same)


def test_batch_norms_of_all_families(family: Source):
    opened = open_source(family)
    found = batch_norms(opened.body)
    expected = {type(module).__name__ for name, module in opened.body.named_modules() if name in found}
    assert all("BatchNorm" in name for name in expected)
    assert bool(found) == any("running_mean" in name for name in opened.body.state_dict())
