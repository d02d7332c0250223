"""The search of a recipe: real short trainings, what is given is not searched, a killed search goes on."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from transfuse.core.nouns import Source, Task
from transfuse.core.runs import Run
from transfuse.fitting.fit import fit
from transfuse.fitting.recipes import searched, space_of

OPTIONS = {"steps": 80, "batch_size": 12, "seed": 0}


def test_trials_train_and_the_best_is_given(good: Source, task: Task) -> None:
    found = searched(good, task, run=Run(), options=OPTIONS, trials=4)
    assert len(found.attempts) == 4 and found.best.score > 0.9
    assert set(found.best.options) <= set(space_of(task))
    assert len({attempt.options["rate"] for attempt in found.attempts}) > 1


def test_what_is_given_is_not_searched(good: Source, task: Task) -> None:
    found = searched(good, task, run=Run(), options={**OPTIONS, "optimizer": "sgd", "head": "linear"}, trials=2)
    assert all({"optimizer", "head", "activation"}.isdisjoint(attempt.options) for attempt in found.attempts)


def test_a_killed_search_goes_on_where_it_was(good: Source, task: Task, tmp_path: Path) -> None:
    class Killed(BaseException):
        pass

    trials: list[Mapping] = []

    def watch(event: Mapping) -> None:
        trials.append(event)
        if len(trials) == 2:
            raise Killed

    with pytest.raises(Killed):
        searched(good, task, run=Run(checkpoints=tmp_path, watch=watch), options=OPTIONS, trials=3)
    resumed = searched(good, task, run=Run(checkpoints=tmp_path), options=OPTIONS, trials=3)
    whole = searched(good, task, run=Run(), options=OPTIONS, trials=3)
    assert [a.options for a in resumed.attempts] == [a.options for a in whole.attempts]
    assert [a.score for a in resumed.attempts] == [a.score for a in whole.attempts]


def test_fit_trains_by_the_recipe_and_says_so(good: Source, task: Task) -> None:
    model = fit(task, sources=[good], budget="10m", search=3, options=OPTIONS, baseline=False)
    path = next(section for section in model.report.sections if section.title == "How it was decided").content
    decided = next(row for row in path if row["question"] == "Which recipe of fine-tuning?")
    assert "3 trials" in decided["evidence"] and "rate" in decided["decision"]
