"""last_stages: the prefix does not move, and cached activations train like live pictures."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from transfuse.core.errors import UnknownName, UsageError
from transfuse.core.nouns import Source, Task
from transfuse.core.runs import Run
from transfuse.sources.opening import open_source
from transfuse.sources.staging import split_at
from transfuse.training.batches import Activations
from transfuse.training.loop import Group, Moves, train
from transfuse.training.options import Fit
from transfuse.transferring.methods.last_stages import last_stages
from transfuse.tuning.moving import batch_norms, layerwise
from transfuse.tuning.outcome import HeadShape
from transfuse.tuning.starting import start
from transfuse.tuning.tune import workbench

MLP = HeadShape(kind="mlp")  # starts at random, so that there is something to lose
FIT = Fit(steps=12, rate=1e-2, batch_size=8, augmentation="none", validate_every=3)


def test_the_prefix_is_bitwise_the_sources(family: Source, task: Task):
    outcome = last_stages(family, task, fit=replace(FIT, steps=3), interpolate=False)
    opened = open_source(family)
    prefix, suffix = split_at(opened.body, outcome.facts["depth"])
    before, after = opened.body.state_dict(), outcome.network.body.state_dict()
    assert prefix.state_dict() and all(torch.equal(tensor, after[name]) for name, tensor in prefix.state_dict().items())
    moving = [name for name, _ in suffix.named_parameters() if name in before]
    assert moving and any(not torch.equal(before[name], after[name]) for name in moving)


@pytest.mark.parametrize("source", ["small", "vit"])
def test_cached_activations_train_like_live_pictures(source: str, task: Task, request: pytest.FixtureRequest):
    """Without augmentation the losses are those of the suffix trained behind the frozen prefix on the pictures."""
    found: Source = request.getfixturevalue(source)
    outcome = last_stages(found, task, fit=FIT, head=MLP)
    begin = start(found, task, head=MLP, fit=FIT, run=Run())
    bench = workbench(task, found.preprocessing, FIT)
    prefix, _ = split_at(begin.opened.body, outcome.facts["depth"])
    frozen = {f"body.{name}" for name, _ in prefix.named_parameters()}
    groups = [
        Group(names=tuple(name for name in group.names if name not in frozen), rate_scale=group.rate_scale)
        for group in layerwise(begin.network, decay=0.8, batch_norm="frozen").groups
    ]
    moves = Moves(groups=tuple(group for group in groups if group.names), still=batch_norms(begin.network))
    live = train(
        begin.network, bench.batches(FIT), objective=bench.objective, moves=moves, validate=bench.validation,
        fit=FIT, run=Run(),
    )  # fmt: skip
    assert len(live.history) == len(outcome.curves) == 4
    assert live.history[0]["train_loss"] > 0.5
    for here, there in zip(live.history, outcome.curves, strict=True):
        assert there["train_loss"] == pytest.approx(here["train_loss"], abs=1e-4)
        assert there["loss"] == pytest.approx(here["loss"], abs=1e-4)


def test_pass_p_sees_view_p_modulo_k():
    seen = np.arange(6, dtype=np.float32)[:, None].repeat(3, axis=1)  # row k·2 + i is view k of example i
    inputs = Activations(seen, views=3)
    assert len(inputs) == 2
    for number, rows in ((0, [0, 1]), (1, [2, 3]), (2, [4, 5]), (3, [0, 1])):
        assert inputs.take(np.array([0, 1]), number)[:, 0].tolist() == rows
    assert inputs.take(np.array([1]), None).tolist() == [[1, 1, 1]]


def test_views_change_what_is_learnt_and_are_recorded(small: Source, task: Task):
    fit = replace(FIT, augmentation="standard")
    outcomes = [last_stages(small, task, fit=fit, views=views, head=MLP) for views in (0, 1, 3)]
    assert [outcome.facts["views"] for outcome in outcomes] == [0, 1, 3]
    losses = [outcome.curves[-1]["train_loss"] for outcome in outcomes]
    assert len({round(loss, 6) for loss in losses}) == 3
    assert last_stages(small, task, fit=FIT, views=3, interpolate=False).facts["views"] == 0  # nothing to vary


def test_a_deeper_cut_moves_less(small: Source, task: Task):
    depths = open_source(small).depths
    moved = []
    for depth in (depths[0], depths[-1]):
        outcome = last_stages(small, task, fit=FIT, depth=depth, interpolate=False)
        before, after = open_source(small).body.state_dict(), outcome.network.body.state_dict()
        moved.append(sum(not torch.equal(before[name], after[name]) for name in before))
        assert outcome.facts["depth"] == depth
    assert moved[0] > moved[1] > 0


def test_wrong_options_are_refused(small: Source, task: Task):
    with pytest.raises(UsageError, match="`views` must be 0 or more"):
        last_stages(small, task, fit=FIT, views=-1)
    with pytest.raises(UnknownName, match="depth of this network"):
        last_stages(small, task, fit=FIT, depth="layer9")
