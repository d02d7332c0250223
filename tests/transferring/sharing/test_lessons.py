"""What a step shows and costs: pictures of several tasks pass the trunk once, pieces add up to the whole batch."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch

from transfuse.core.nouns import Source, Task
from transfuse.sources.network import SharedNetwork, new_head
from transfuse.sources.opening import open_source
from transfuse.training.balancing import Equal
from transfuse.training.batches import Batch
from transfuse.training.options import Fit
from transfuse.transferring.sharing.lessons import Lessons, last_shared, prepared

FIT = Fit(steps=4, rate=1e-3, batch_size=6, augmentation="none")


def made(source: Source, tasks: Sequence[Task], fit: Fit = FIT) -> tuple[Lessons, SharedNetwork]:
    opened = open_source(source)
    torch.manual_seed(0)
    heads = [new_head(opened.feature_size, len(task.classes)) for task in tasks]
    network = SharedNetwork(opened.body, heads)
    lessons = prepared(tasks, opened, network, fit, solved=False)
    network.add_module("balance", Equal())
    return lessons, network


def seen_by(network: SharedNetwork) -> list[int]:
    sizes: list[int] = []
    network.body.register_forward_hook(lambda _, inputs, output: sizes.append(len(inputs[0])))
    return sizes


@pytest.fixture
def pair(task: Task) -> list[Task]:
    """The same pictures, with classes in another order."""
    splits = {name: replace(ex, targets=2 - ex.targets) for name, ex in task.splits.items()}
    return [task, replace(task, name="other", splits=splits, digest="other")]


def test_pictures_of_two_tasks_pass_the_trunk_once(small: Source, pair: list[Task], tasks: Mapping[str, Task]):
    for given, a_step in (
        (pair, 6),
        ([tasks["single-label"], tasks["regression"]], 12),
        ([*pair, tasks["regression"]], 12),
    ):
        lessons, network = made(small, given)
        sizes = seen_by(network)
        lessons.objective(network, lessons.streams.at(0))
        assert sizes == [a_step]
        sizes.clear()
        lessons.validate(network.eval())
        assert sum(sizes) == 9 * (a_step // 6)


def test_the_sum_of_the_losses_is_that_of_each_task_by_hand(small: Source, tasks: Mapping[str, Task]):
    given = [tasks["single-label"], tasks["regression"]]
    lessons, network = made(small, given)
    network.eval()
    batch = lessons.streams.at(0)
    expected = 0.0
    for stream, (task, lesson) in enumerate(zip(given, lessons.each, strict=True)):
        mine = batch.y == stream
        logits = network.heads[stream](network.body(batch.x[mine]))
        y = task.splits["train"].targets[batch.index_B[mine]]
        if stream == 0:
            expected += torch.nn.functional.cross_entropy(logits, torch.from_numpy(y)).item()
        else:
            mean, deviation = (np.asarray(part) for part in lesson.bench.validation.scale)
            expected += float(((logits.detach().numpy() - (y - mean) / deviation) ** 2).mean())
    assert lessons.objective(network, batch).item() == pytest.approx(expected, rel=1e-4)


def test_the_gradient_of_pieces_is_that_of_the_batch(small: Source, tasks: Mapping[str, Task]):
    lessons, network = made(small, [tasks["single-label"], tasks["regression"]])
    network.eval()
    batch = lessons.streams.at(1)
    lessons.objective(network, batch).backward()
    whole = [p.grad.clone() for p in network.parameters() if p.grad is not None]
    network.zero_grad()
    names = ("x", "y", "weights_B", "index_B", "view_B")
    for piece in zip(*(getattr(batch, name).chunk(5) for name in names), strict=True):
        part = Batch(**dict(zip(names, piece, strict=True)))
        (lessons.objective(network, part) * (len(part.y) / len(batch.y))).backward()
    pieces = [p.grad for p in network.parameters() if p.grad is not None]
    for a, b in zip(whole, pieces, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_knowing_nothing_costs_what_it_must(small: Source, tasks: Mapping[str, Task]):
    lessons, _ = made(small, [tasks["single-label"], tasks["multi-label"], tasks["regression"]])
    nothing = [lesson.knowing_nothing() for lesson in lessons.each]
    np.testing.assert_allclose(nothing, [np.log(3), np.log(2), 1.0], rtol=1e-5)


def test_class_weights_are_those_of_each_task(small: Source, task: Task, tasks: Mapping[str, Task]):
    train = task.splits["train"]
    targets = np.where(np.arange(len(train)) < 4, 0, 1)
    rare = replace(task, classes=("few", "many"), splits={**task.splits, "train": replace(train, targets=targets)})
    valid = replace(task.splits["valid"], targets=np.arange(9) % 2)
    rare = replace(rare, name="rare", splits={**rare.splits, "valid": valid})
    given = [rare, tasks["regression"]]
    lessons, _ = made(small, given, replace(FIT, class_weights="balanced"))
    weights_N = lessons.each[0].bench.weights_N
    assert weights_N[:4].sum() == pytest.approx(weights_N[4:].sum()) and lessons.each[0].bench.validation.balanced
    assert (lessons.each[1].bench.weights_N == 1).all()


def test_the_score_of_a_regression_is_a_share_whatever_its_units(small: Source, tasks: Mapping[str, Task]):
    task = tasks["regression"]
    lessons, network = made(small, [task, tasks["single-label"]])
    lesson = lessons.each[0]
    mean, deviation = (np.asarray(part) for part in lesson.bench.validation.scale)
    perfect_NC = (task.splits["valid"].targets - mean) / deviation
    assert lesson.measured(perfect_NC.astype(np.float32))["score"] == pytest.approx(1, abs=1e-5)
    found = lessons.validate(network.eval())
    assert found["score"] == pytest.approx((found["score 0"] + found["score 1"]) / 2)
    (point,) = lessons.curves([{"step": 2, "rate": 0.1, "train_loss": 1.0, **found}], 1)
    assert point["accuracy"] == found["accuracy 1"] and point["step"] == 2


def test_the_last_matrix_of_the_trunk_that_moves(small: Source):
    body = open_source(small).body
    last = last_shared(body)
    assert last is body.get_parameter(next(name for name, p in reversed(list(body.named_parameters())) if p.ndim > 1))
    assert last_shared(body.requires_grad_(False)) is None


def test_pictures_are_mirrored_only_where_all_their_tasks_allow_it(small: Source, task: Task):
    sided = replace(task, name="sides", classes=("left", "right", "middle"), digest="sides")
    lessons, _ = made(small, [task, sided], replace(FIT, augmentation="auto"))
    assert not lessons.streams.parts[0].inputs.augmentation.flip_horizontal
    assert "Not mirrored after all" in lessons.each[0].bench.augmentation
    assert "names a side" in lessons.each[1].bench.augmentation
    alone, _ = made(small, [task], replace(FIT, augmentation="auto"))
    assert alone.streams.parts[0].inputs.augmentation.flip_horizontal
