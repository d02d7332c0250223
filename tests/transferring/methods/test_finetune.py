"""finetune: learns what the probe cannot, and the line between start and end."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch

from transfuse.core.nouns import Examples, Source, Task
from transfuse.core.runs import Run
from transfuse.measuring.metrics import measure
from transfuse.predicting.predict import activated, logits
from transfuse.sources.opening import open_source
from transfuse.training.averaging import copied
from transfuse.training.options import Fit
from transfuse.transferring.interpolating import ALPHAS, keep_best_between
from transfuse.transferring.methods.finetune import finetune
from transfuse.tuning.outcome import HeadShape
from transfuse.tuning.starting import start
from transfuse.tuning.tune import workbench


def test_the_curve_goes_from_the_start_to_the_tuned_network(small: Source, task: Task):
    """WiSE-FT: α = 0 answers as the start, α = 1 as the tuned network, in eleven points."""
    fit = Fit(steps=20, rate=1e-2, batch_size=8)
    bench = workbench(task, small.preprocessing, fit)
    begin = start(small, task, head=HeadShape(), fit=fit, run=Run())
    at_start = bench.validation(begin.network)
    raw = finetune(small, task, fit=fit, interpolate=False)
    at_end = bench.validation(raw.network)
    found = finetune(small, task, fit=fit).facts["interpolation"]
    curve = found["curve"]
    assert [point["alpha"] for point in curve] == list(ALPHAS) == [round(0.1 * k, 1) for k in range(11)]
    assert curve[0]["loss"] == pytest.approx(at_start["loss"], rel=1e-4)
    assert curve[-1]["loss"] == pytest.approx(at_end["loss"], rel=1e-4)
    best = max(curve, key=lambda point: (point["score"], -point["loss"]))
    assert (best["score"], best["loss"]) == next((p["score"], p["loss"]) for p in curve if p["alpha"] == found["alpha"])


def test_the_kept_weights_lie_on_the_line(small: Source, task: Task):
    """A tuned end that is useless is walked back to the start."""
    fit = Fit(steps=1, rate=1e-3, batch_size=8)
    bench = workbench(task, small.preprocessing, fit)
    network = start(small, task, head=HeadShape(), fit=fit, run=Run()).network
    origin = copied(network)
    with torch.no_grad():
        network.head.weight.neg_()
    found = keep_best_between(network, origin, bench.validation)
    assert found["alpha"] < 0.5
    expected = (1 - 2 * found["alpha"]) * origin["head.weight"]
    torch.testing.assert_close(network.head.weight.detach(), expected)


def test_class_weights_raise_the_recall_of_a_rare_class(small: Source, rare: Task):
    recalls = []
    for weights in ("equal", "balanced"):
        fit = Fit(steps=60, rate=1e-2, batch_size=16, class_weights=weights, augmentation="none", patience=0)
        outcome = finetune(small, rare, fit=fit)
        test = rare.splits["test"]
        answers = logits(outcome.network, test.items, small.preprocessing).argmax(1)
        recalls.append((answers[test.targets == 1] == 1).mean())
    assert recalls[1] > recalls[0] + 0.2


@pytest.fixture(scope="module")
def rare() -> Task:
    """Two classes that overlap, one of them nine times rarer in training."""

    def split(common: int, few: int, seed: int) -> Examples:
        generator = np.random.default_rng(seed)
        targets = np.array([0] * common + [1] * few)
        level_N = 110 + 14 * targets + generator.normal(0, 14, len(targets))
        noise = generator.normal(0, 30, (len(targets), 32, 32, 3))
        pictures = np.clip(level_N[:, None, None, None] + noise, 0, 255).astype(np.uint8)
        names = tuple(f"{seed} {place}" for place in range(len(targets)))
        return Examples(items=list(pictures), targets=targets, digests=names, names=names)

    splits = {"train": split(90, 10, 0), "valid": split(45, 5, 1), "test": split(60, 60, 2)}
    return Task(name="rare", kind="single-label", classes=("common", "rare"), splits=splits, seed=0, digest="rare")


@pytest.mark.parametrize("kind", ["single-label", "multi-label", "regression"])
def test_learns_every_kind(small: Source, tasks: Mapping[str, Task], kind: str):
    task = tasks[kind]
    outcome = finetune(small, task, fit=Fit(steps=60, rate=1e-2, batch_size=16))
    test = task.splits["test"]
    outputs = activated(
        logits(outcome.network, test.items, small.preprocessing), kind,
        temperature=outcome.temperature, target_scale=outcome.target_scale,
    )  # fmt: skip
    metrics = measure(kind, test.targets, outputs)
    name, least = {"single-label": ("accuracy", 0.99), "multi-label": ("f1", 0.85), "regression": ("r2", 0.7)}[kind]
    assert metrics[name] > least


def test_source_and_task_are_left_as_they_were(small: Source, task: Task):
    before = {split: part.targets.copy() for split, part in task.splits.items()}
    weights = copied(open_source(small).body)
    finetune(small, task, fit=Fit(steps=3, rate=1e-2, batch_size=8))
    assert all(np.array_equal(before[split], part.targets) for split, part in task.splits.items())
    assert all(torch.equal(tensor, weights[name]) for name, tensor in open_source(small).body.state_dict().items())


def test_example_weights_of_zero_are_as_if_the_examples_were_not_there(small: Source, task: Task):
    train = task.splits["train"]
    wrong = train.targets.copy()
    wrong[:6] = (wrong[:6] + 1) % 3
    weights = np.ones(24, np.float32)
    weights[:6] = 0
    one, other = (
        replace(task, splits={**task.splits, "train": replace(train, targets=y, weights=weights)})
        for y in (train.targets, wrong)
    )
    fit = Fit(steps=5, rate=1e-2, batch_size=24)
    heads = [
        finetune(small, which, fit=fit, head=HeadShape(kind="cosine")).network.head.weight for which in (one, other)
    ]
    torch.testing.assert_close(heads[0], heads[1], rtol=1e-3, atol=1e-4)
