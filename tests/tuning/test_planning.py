"""The rate by a search that leaves no trace, the steps by the clock."""

import json
import math
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from transfuse.core.documents import sealed
from transfuse.core.errors import BudgetError, StorageError, UsageError
from transfuse.core.nouns import Source, Task
from transfuse.core.runs import Run
from transfuse.training.averaging import copied
from transfuse.training.batches import Activations, Batches
from transfuse.training.loop import Group, Moves
from transfuse.training.options import Fit
from transfuse.transferring.methods.scratch import scratch
from transfuse.tuning.moving import layerwise
from transfuse.tuning.outcome import HeadShape
from transfuse.tuning.planning import RATES, Job, planned, search_rates, timed
from transfuse.tuning.starting import start
from transfuse.tuning.tune import workbench

FIT = Fit(steps=100, batch_size=12, optimizer="sgd", clip=0.0, patience=0)


def job(source: Source, task: Task) -> Job:
    """Training from scratch."""
    begin = start(source, task, head=HeadShape(), fit=FIT, run=Run(), pretrained=False)
    bench = workbench(task, source.preprocessing, FIT)
    return Job(
        network=begin.network,
        batches=bench.batches(FIT),
        objective=bench.objective,
        moves=layerwise(begin.network, decay=1.0, batch_norm="adapt"),
        validate=bench.validation,
        identity={},
    )


def test_the_search_leaves_the_network_as_it_was(small: Source, task: Task):
    work = job(small, task)
    before = copied(work.network)
    trials = search_rates(work, FIT, Run(), 10)
    assert all(torch.equal(tensor, before[name]) for name, tensor in work.network.state_dict().items())
    assert [trial["rate"] for trial in trials] == list(RATES["sgd"][: len(trials)]) and len(trials) >= 3
    assert {trial["steps"] for trial in trials} == {10}


def test_timing_leaves_the_network_as_it_was(small: Source, task: Task):
    work = job(small, task)
    before = copied(work.network)
    assert 0 < timed(work, FIT, Run()) < 5
    assert all(torch.equal(tensor, before[name]) for name, tensor in work.network.state_dict().items())


def test_the_rates_that_diverge_lose():
    """Minimise (w − 10)⁴ from w = 0: the first step overshoots at large rates, and each later one by more."""
    network = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.zeros_(network.weight)
    inputs = Activations(np.ones((12, 1), np.float32))
    work = Job(
        network=network,
        batches=Batches(
            inputs=inputs, targets=torch.full((12, 1), 10.0), weights_N=np.ones(12, np.float32), batch_size=12, seed=0
        ),
        objective=lambda net, batch: (net(batch.x) - batch.y).pow(4).mean(),
        moves=Moves(groups=(Group(names=("weight",)),)),
        validate=lambda net: {"score": 0.0, "loss": (net.weight - 10).abs().item()},
        identity={},
    )
    found = planned(work, replace(FIT, momentum=0.0, average=0.0, weight_decay=0.0), Run())
    losses = {trial["rate"]: trial["loss"] for trial in found.trials}
    assert [losses[rate] for rate in RATES["sgd"][:2]] == [math.inf] * 2
    assert found.fit.rate == min(losses) or len(losses) > 3
    assert losses[found.fit.rate] < 1e-3 and network.weight.item() == 0


def test_the_largest_rate_whose_loss_is_close_to_the_best_is_taken(small: Source, task: Task):
    found = planned(job(small, task), FIT, Run())
    best = min(trial["loss"] for trial in found.trials)
    assert found.fit.rate == max(trial["rate"] for trial in found.trials if trial["loss"] <= 1.5 * best)
    assert found.fit.steps == found.steps_wanted == 100


@pytest.mark.parametrize(
    ("losses", "tried", "taken"),
    [
        ((1.0, 1.1, 1.2), 3, 0.3),  # smaller rates do not pay: three trials, the largest rate
        ((9.0, 4.0, 1.0, 1.1), 4, 3e-2),
        ((9.0, 5.0, 3.0, 1.9, 1.2, 0.7), 6, 1e-3),  # down to the smallest, as long as it pays
        ((math.inf, math.inf, math.inf, 2.0, 1.9), 5, 1e-2),
    ],
)
def test_smaller_rates_are_tried_while_they_pay(
    losses: tuple[float, ...], tried: int, taken: float, monkeypatch: pytest.MonkeyPatch, small: Source, task: Task
):
    coming = iter(losses)
    monkeypatch.setattr("transfuse.tuning.planning._short", lambda *_: {"loss": next(coming)})
    found = planned(job(small, task), FIT, Run())
    assert len(found.trials) == tried and found.fit.rate == taken


def test_every_rate_diverging_is_an_error(monkeypatch: pytest.MonkeyPatch, small: Source, task: Task):
    monkeypatch.setattr("transfuse.tuning.planning._short", lambda *_: None)
    with pytest.raises(UsageError, match="diverged at every rate"):
        planned(job(small, task), FIT, Run())


def test_a_given_rate_is_not_searched(small: Source, task: Task):
    assert planned(job(small, task), replace(FIT, rate=0.02), Run()).trials == ()


def test_little_time_cuts_the_steps(small: Source, task: Task):
    began = time.monotonic()
    run = Run(deadline=began + 3.0)
    outcome = scratch(small, task, run=run, fit=replace(FIT, steps=10**6, rate=1e-2))
    assert 0 < outcome.facts["steps"] < outcome.facts["steps_wanted"] == 10**6
    assert outcome.facts["stopped_by"] in ("steps", "time")


def test_no_time_is_an_error_that_says_so(small: Source, task: Task):
    with pytest.raises(BudgetError, match="One training step takes"):
        planned(job(small, task), FIT, Run(deadline=time.monotonic()))


def test_a_plan_is_kept_beside_the_checkpoint(small: Source, task: Task, tmp_path: Path):
    run = Run(checkpoints=tmp_path)
    first = planned(job(small, task), FIT, run)
    document = json.loads((tmp_path / "plan.json").read_text())
    (tmp_path / "plan.json").write_text(json.dumps({**document, "rate": 0.123, "steps": 77}))
    with pytest.raises(StorageError, match=r"plan\.json' was changed since it was written"):
        planned(job(small, task), FIT, run)
    document.pop("seal")
    (tmp_path / "plan.json").write_text(json.dumps(sealed({**document, "rate": 0.123, "steps": 77})))
    again = planned(job(small, task), FIT, run)
    assert (again.fit.rate, again.fit.steps) == (0.123, 77) and list(again.trials) == list(first.trials)
    other = planned(job(small, task), replace(FIT, momentum=0.5), run)
    assert other.fit.rate in RATES["sgd"]
