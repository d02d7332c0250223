"""One Fit for unlike tasks: each takes what it can have, and what nobody can have is refused."""

from collections.abc import Mapping

import pytest

from transfuse.core.errors import UnknownName, UsageError
from transfuse.core.nouns import Task
from transfuse.training.options import Fit
from transfuse.transferring.sharing.fits import for_all, for_task


def test_what_a_task_cannot_have_is_left_out(tasks: Mapping[str, Task]):
    fit = Fit(loss="focal", class_weights={"red": 2.0, "bright": 3.0})
    assert for_task(fit, tasks["single-label"]).loss == "focal"
    assert for_task(fit, tasks["single-label"]).class_weights == {"red": 2.0}
    regression = for_task(Fit(label_smoothing=0.1, class_weights="balanced"), tasks["regression"])
    assert (regression.label_smoothing, regression.class_weights, regression.loss) == (0.0, "equal", "auto")
    assert for_task(fit, tasks["regression"]).loss == "auto"
    assert for_task(Fit(class_weights={"bright": 2.0}), tasks["single-label"]).class_weights == "equal"


def test_steps_suit_the_largest_task(tasks: Mapping[str, Task]):
    assert for_all(Fit(), list(tasks.values())).steps == 300 and for_all(Fit(steps=7), list(tasks.values())).steps == 7


def test_what_no_task_can_have_is_refused(tasks: Mapping[str, Task]):
    both = [tasks["single-label"], tasks["regression"]]
    with pytest.raises(UnknownName, match="Did you mean 'focal'"):
        for_all(Fit(loss="focl"), both)
    with pytest.raises(UsageError, match="must go with one of the tasks, which are multi-label, regression"):
        for_all(Fit(loss="focal"), [tasks["multi-label"], tasks["regression"]])
    with pytest.raises(UnknownName, match="Did you mean 'red'"):
        for_all(Fit(class_weights={"redd": 2.0}), both)
