"""Sure examples leave early, the others answer as before, and only those that are left are computed."""

import copy
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.reshaping.parts import answers, batch_of, model_of

import transfuse as tr
from transfuse.core.errors import UnknownName, UsageError
from transfuse.core.nouns import Model
from transfuse.predicting.predict import probabilities
from transfuse.reshaping.exits import at_exit, early_exits, first_sure, measured
from transfuse.tracing.walking import traced


@pytest.fixture(scope="module")
def task(photos):
    return tr.task(photos)


@pytest.fixture(scope="module")
def model():
    return model_of("resnet")


@pytest.fixture(scope="module")
def early(model, task):
    return early_exits(model, task, 3, most=5.0)


def with_threshold(early, value):
    """Every depth is sure from this confidence on."""
    copied = replace(early, network=copy.deepcopy(early.network))
    copied.network.body.threshold_E.fill_(value)
    return copied


def test_whoever_is_never_sure_answers_as_the_whole(model, early):
    x = batch_of(model, 9)
    never = with_threshold(early[0], 2.0)
    assert torch.allclose(answers(never.network, x), answers(model.network, x).log_softmax(1), atol=1e-5)


def test_each_example_is_answered_at_the_first_exit_that_is_sure(early):
    body = with_threshold(early[0], 0.6).network.body
    x = batch_of(early[0], 24)
    with torch.no_grad():
        skipped, exit_B = body.answered(x)
        whole, wanted_B = body._whole(x)
    assert torch.equal(exit_B, wanted_B)
    assert torch.allclose(skipped, whole, atol=1e-4)
    confidence = np.array([[0.2, 0.9, 0.1], [0.8, 0.1, 0.2], [0.0, 0.0, 0.0]])
    assert first_sure(confidence, 0.7).tolist() == [1, 0, 2]


def test_later_parts_see_only_what_is_left(early):
    body = with_threshold(early[0], 0.6).network.body
    seen = []
    for segment in body._traced:
        segment.register_forward_pre_hook(lambda module, given: seen.append(len(given[0])))
    with torch.no_grad():
        _, exit_B = body.answered(batch_of(early[0], 24))
    left = [24 - int((exit_B < place).sum()) for place in range(len(body._traced))]
    assert seen == [count for count in left if count]
    assert seen[-1] < 24


def test_the_facts_are_those_of_the_examples(model, early, task):
    found = measured(model, early[0], task.splits["valid"])
    p_NC = probabilities(early[0], task.splits["valid"].items)
    assert found["accuracy"]["value"] == (p_NC.argmax(1) == task.splits["valid"].targets).mean()
    assert sum(row["answered"] for row in found["exits"]) == pytest.approx(1)
    costs = [row["operations"] for row in found["exits"]]
    assert costs == sorted(costs)
    assert costs[-1] == pytest.approx(1, abs=0.02)
    assert found["operations"] == pytest.approx(sum(r["answered"] * r["operations"] for r in found["exits"]))
    loss = found["accuracy_whole"]["value"] - found["accuracy"]["value"]
    assert loss * 100 <= 5.0


def test_it_is_saved_and_opened_again(early, tmp_path):
    early[0].save(tmp_path / "early")
    x = batch_of(early[0], 9)
    assert torch.equal(answers(early[0].network, x), answers(Model.load(tmp_path / "early").network, x))


def test_up_to_an_exit_it_is_a_plain_model(early, tmp_path):
    body = early[0].network.body
    x = batch_of(early[0], 5)
    for place, depth in enumerate(body.depths):
        cut = at_exit(early[0], depth)
        cut.save(tmp_path / depth)
        mine = answers(cut.network, x)
        assert torch.equal(mine, answers(Model.load(tmp_path / depth).network, x))
        sure = with_threshold(early[0], 2.0).network.body
        sure.threshold_E[place] = 0.0
        assert torch.allclose((mine / cut.temperature).log_softmax(1), answers(sure, x), atol=1e-5)
    sizes = [sum(p.numel() for p in at_exit(early[0], depth).network.parameters()) for depth in body.depths]
    assert sizes == sorted(sizes)
    assert sizes[-1] < sum(p.numel() for p in early[0].network.parameters())


def test_its_graph_can_be_had(early):
    body = with_threshold(early[0], 0.6).network.body
    x = batch_of(early[0], 4)
    with torch.no_grad():
        assert torch.allclose(traced(body, x).module()(x), answers(body, x), atol=1e-4)


def test_what_has_no_exits_is_refused(task, early):
    table = model_of("table")
    with pytest.raises(UsageError, match="must have the model's kind"):
        early_exits(replace(table, classes=("a", "b")), task)
    with pytest.raises(UsageError, match="cannot be cut"):
        early_exits(replace(table, modality="image"), task)
    with pytest.raises(UsageError, match="exclude each other"):
        early_exits(replace(table, kind="multi-label"), task)
    with pytest.raises(UsageError, match="`most` must be"):
        early_exits(table, task, most=-1.0)
    with pytest.raises(UsageError, match="no early exits"):
        at_exit(table, "layer1")
    with pytest.raises(UnknownName, match="depth"):
        at_exit(early[0], "layre1")
