"""Greedy soups: kept only when the average is better than the best ingredient."""

import copy
from dataclasses import replace

import torch

from transfuse.core.nouns import Source, Task
from transfuse.core.runs import Run
from transfuse.fitting.candidates import Candidate, made, measured
from transfuse.fitting.soups import souped

OPTIONS = {"steps": 10, "rate": 1e-3, "batch_size": 12, "interpolate": False}


def moved(candidate: Candidate, task: Task, by: float, name: str) -> Candidate:
    """The candidate with its head's bias of the first class moved."""
    network = copy.deepcopy(candidate.model.network)
    with torch.no_grad():
        network.head.bias[0] += by
    model = replace(candidate.model, network=network, name=name)
    again = measured(model, candidate.source, task, method="finetune", options=OPTIONS)
    return replace(again, name=name)


def test_two_opposite_errors_cancel(good: Source, task: Task) -> None:
    tuned = made(good, task, "finetune", run=Run(), options=OPTIONS)
    one, other = moved(tuned, task, 900.0, "one"), moved(tuned, task, -900.0, "other")
    found = souped([one, other], task)
    assert found is not None and found.method == "soup"
    assert found.score > max(one.score, other.score)
    expected = tuned.model.network.state_dict()
    for key, tensor in found.model.network.state_dict().items():
        torch.testing.assert_close(tensor, expected[key], rtol=1e-4, atol=1e-3)
    assert found.facts["ingredients"] == [c.name for c in sorted([one, other], key=lambda c: c.score, reverse=True)]
    assert len(found.model.provenance.inputs) == 2 and found.model.provenance.method == "greedy_soup"


def test_a_soup_that_is_no_better_is_not_kept(good: Source, task: Task) -> None:
    tuned = made(good, task, "finetune", run=Run(), options=OPTIONS)
    assert souped([tuned, moved(tuned, task, 900.0, "worse")], task) is None
    assert souped([tuned], task) is None
