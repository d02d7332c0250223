"""The choice: the leader, unless a simpler candidate is within noise of it."""

from dataclasses import replace

import numpy as np
import pytest

from transfuse.core.nouns import Source, Task
from transfuse.core.runs import Run
from transfuse.fitting.candidates import Candidate, made
from transfuse.fitting.choosing import chosen, proven_worse


@pytest.fixture(scope="module")
def probe(good: Source, task: Task) -> Candidate:
    """A probe, whose answers the tests replace."""
    return replace(made(good, task, "probe", run=Run(), options={}), out_of_fold=None)


def answering(like: Candidate, method: str, wrong: int, start: int = 0) -> Candidate:
    """A candidate that gives `wrong` wrong answers on validation, from the example `start` on."""
    targets = like.validation.targets
    answers = targets.copy()
    answers[start : start + wrong] = (answers[start : start + wrong] + 1) % 3
    outputs_NC = np.where(np.eye(3)[answers] > 0, 0.9, 0.05)
    return replace(like, method=method, name=method, validation=replace(like.validation, outputs_NC=outputs_NC))


def test_a_simpler_model_within_noise_is_given(probe: Candidate) -> None:
    simple, leader = answering(probe, "probe", 1), answering(probe, "finetune", 0)
    found, decision = chosen([simple, leader])
    assert found is simple
    assert "within noise" in decision.decision and "finetune leads with 1.0000 on 18" in decision.evidence


def test_a_leader_beyond_noise_is_given(probe: Candidate) -> None:
    found, decision = chosen([answering(probe, "probe", 8), answering(probe, "finetune", 0)])
    assert found.method == "finetune" and "better with probability 1.00" in decision.evidence


def test_the_best_of_the_simplest_kind_stands_for_it(probe: Candidate) -> None:
    """Another probe that would be within noise by chance is not asked."""
    bad, good_ = answering(probe, "probe", 7), replace(answering(probe, "probe", 1), name="better probe")
    assert chosen([bad, good_, answering(probe, "finetune", 0)])[0] is good_


def test_frozen_sources_are_compared_out_of_fold_too(probe: Candidate, task: Task) -> None:
    """One validation example proves nothing; thirty more out of fold do."""
    train = task.splits["train"]

    def with_folds(candidate: Candidate, wrong: int) -> Candidate:
        answers = train.targets.copy()
        answers[:wrong] = (answers[:wrong] + 1) % 3
        outputs_NC = np.where(np.eye(3)[answers] > 0, 0.9, 0.05)
        held = replace(candidate.validation, examples=train, outputs_NC=outputs_NC)
        return replace(candidate, out_of_fold=held)

    simple, leader = answering(probe, "probe", 1), answering(probe, "fused_probe", 0)
    assert chosen([simple, leader])[0] is simple
    assert chosen([with_folds(simple, 12), with_folds(leader, 0)])[0].method == "fused_probe"


def test_proven_worse(probe: Candidate) -> None:
    assert proven_worse(answering(probe, "probe", 12), answering(probe, "probe", 0))
    assert not proven_worse(answering(probe, "probe", 1), answering(probe, "probe", 0))
