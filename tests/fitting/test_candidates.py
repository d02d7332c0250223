"""Candidates: taken up where a killed run had finished them; chosen by score, then simplicity."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from transfuse.core.nouns import Source, Task
from transfuse.core.runs import Run
from transfuse.fitting.candidates import made
from transfuse.fitting.choosing import best
from transfuse.fitting.fit import fit
from transfuse.predicting.predict import probabilities

OPTIONS = {"steps": 20, "rate": 1e-3, "batch_size": 12}


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


def test_a_killed_fit_takes_up_what_it_had_finished(good: Source, task: Task, tmp_path: Path):
    trained: list[int] = []

    def watch(event: Mapping) -> None:
        if event["stage"] == "training" and event["done"] == 1:
            trained.append(1)
            if len(trained) == 2:  # fine-tuning is done, the baseline has begun
                raise Killed

    run = Run(checkpoints=tmp_path, watch=watch)
    arguments = {"sources": [good], "budget": "10m", "options": OPTIONS}
    with pytest.raises(Killed):
        fit(task, run=run, **arguments)
    assert len(trained) == 2
    resumed = fit(task, run=run, **arguments)
    assert len(trained) == 3  # the baseline only
    whole = fit(task, **arguments)
    items = task.splits["test"].items
    np.testing.assert_allclose(probabilities(resumed, items), probabilities(whole, items), atol=1e-6)
    figures = [{row["model"]: row["accuracy"] for row in model.report.rows} for model in (resumed, whole)]
    assert figures[0] == figures[1] and len(figures[0]) == 3


def test_a_candidate_of_other_options_is_not_taken_up(good: Source, task: Task, tmp_path: Path):
    run = Run(checkpoints=tmp_path)
    one, other, again = (
        made(good, task, "finetune", run=run, options={**OPTIONS, "rate": rate, "head": "mlp"})
        for rate in (1e-2, 1e-4, 1e-2)
    )
    answers = [candidate.validation.outputs_NC for candidate in (one, other, again)]
    assert not np.allclose(answers[0], answers[1]) and np.allclose(answers[0], answers[2], atol=1e-6)
    assert again.curves == one.curves and again.facts["rate"] == 1e-2


def test_the_best_is_the_highest_score_then_the_simplest(good: Source, task: Task):
    probe = made(good, task, "probe", run=Run(), options={})
    tuned = made(good, task, "finetune", run=Run(), options=OPTIONS)
    equal = replace(tuned, validation=probe.validation)
    assert best([equal, probe]) is probe and best([probe, equal]) is probe
    wrong = replace(probe.validation, outputs_NC=probe.validation.outputs_NC[:, ::-1])
    assert best([replace(probe, validation=wrong), equal]) is equal
