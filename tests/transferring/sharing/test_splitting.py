"""Who is proven to be hurt leaves; who gains from the others' trunk keeps it."""

from dataclasses import replace

import numpy as np
import pytest

from transfuse.core.nouns import Examples, Source, Task
from transfuse.core.runs import Run
from transfuse.training.options import Fit
from transfuse.transferring.sharing.groups import Learnt, Recipe, learn
from transfuse.transferring.sharing.splitting import Sharing, _split
from transfuse.tuning.outcome import HeadShape, Outcome

COUNT = 60
TARGETS = np.arange(COUNT) % 2


def task(name: str) -> Task:
    examples = Examples(
        items=[0] * COUNT, targets=TARGETS, digests=tuple(map(str, range(COUNT))), names=tuple(map(str, range(COUNT)))
    )
    return Task(name=name, kind="single-label", classes=("a", "b"), splits={"valid": examples}, seed=0, digest=name)


def learnt(**right: float) -> Learnt:
    """Answers that are right for these shares of the examples."""
    answers = {}
    for name, share in right.items():
        p_N = np.where(np.arange(COUNT) < share * COUNT, TARGETS, 1 - TARGETS)
        answers[name] = np.stack([1.0 - p_N, p_N], axis=1)
    outcomes = {name: Outcome(network=None, builder={}, preprocessing=None) for name in right}
    return Learnt(outcomes=outcomes, answers=answers)


def decided(together: Learnt, alone: dict[str, Learnt]) -> Sharing:
    tasks = [task(name) for name in together.outcomes]
    own = {name: one.outcomes[name] for name, one in alone.items()}
    begun = Sharing(outcomes=together.outcomes, together=together.outcomes, alone=own)
    recipe = Recipe(
        source=None, fit=Fit(), head=HeadShape(), balancing="equal", layer_decay=0.8, batch_norm="frozen"
    )  # no third task, so nothing is learnt anew
    return _split(begun, tasks, together, alone, recipe, Run())


def test_many_tasks_do_not_make_it_likelier_that_one_leaves():
    """A gap that one of two tasks would leave by is no proof among ten."""
    gap, alone = {"a0": 0.9}, {"a0": learnt(a0=0.98)}
    more = {f"a{n}": 0.9 for n in range(1, 10)}
    two, ten = learnt(**gap, a1=0.9), learnt(**gap, **more)
    others = {name: learnt(**{name: 0.9}) for name in more}
    found = [decided(one, {**alone, **{n: others[n] for n in list(others)[:k]}}) for one, k in ((two, 1), (ten, 9))]
    assert [one.rounds[0].level for one in found] == [0.975, 0.995]
    wide, wider = (one.rounds[0].gaps["a0"] for one in found)
    assert wide["value"] == wider["value"] < 0 and wider["high"] > wide["high"]


def test_tasks_that_do_not_hurt_each_other_stay():
    together = learnt(a=0.9, b=0.8)
    found = decided(together, {"a": learnt(a=0.9), "b": learnt(b=0.82)})
    assert found.outcomes == together.outcomes
    assert [one.left for one in found.rounds] == [None] and found.rounds[0].gaps["b"]["value"] < 0


def test_a_task_that_is_proven_worse_leaves_and_the_other_is_alone_too():
    together, alone = learnt(a=0.9, b=0.5), {"a": learnt(a=0.9), "b": learnt(b=0.9)}
    found = decided(together, alone)
    assert found.outcomes["b"] is alone["b"].outcomes["b"] and found.outcomes["a"] is alone["a"].outcomes["a"]
    assert found.rounds[-1].left == "b" and found.rounds[-1].gaps["b"]["high"] < 0


def test_who_gains_from_the_trunk_that_hurts_another_keeps_it():
    together, alone = learnt(a=0.95, b=0.5), {"a": learnt(a=0.5), "b": learnt(b=0.9)}
    found = decided(together, alone)
    assert found.outcomes["a"] is together.outcomes["a"] and found.outcomes["b"] is alone["b"].outcomes["b"]


def test_the_one_most_surely_hurt_leaves_first():
    together = learnt(a=0.6, b=0.4)
    found = decided(together, {"a": learnt(a=0.9), "b": learnt(b=0.95)})
    assert [one.left for one in found.rounds] == ["b"]


def test_without_a_model_of_its_own_nobody_is_said_to_be_hurt():
    together = learnt(a=0.1, b=0.9)
    found = decided(together, {"b": learnt(b=0.9)})
    assert found.outcomes == together.outcomes and list(found.rounds[0].gaps) == ["b"]


def test_the_rest_of_three_learns_anew(small: Source, tasks: dict):
    """The answers alone are made up, so that one of three must leave; what follows is trained."""
    given = [replace(tasks[kind], name=kind[:5]) for kind in ("single-label", "multi-label", "regression")]
    fit = Fit(steps=2, rate=1e-3, batch_size=8, augmentation="none")
    recipe = Recipe(
        source=small, fit=fit, head=HeadShape(), balancing="uncertainty", layer_decay=0.8, batch_norm="frozen"
    )
    together = learn(given, recipe, Run())
    truth = given[2].splits["valid"].targets.astype(float)
    answers = {**together.answers, given[2].name: truth}
    alone = {
        name: Learnt(outcomes={name: replace(together.outcomes[name])}, answers={name: answers[name]})
        for name in answers
    }
    own = {name: one.outcomes[name] for name, one in alone.items()}
    begun = Sharing(outcomes=together.outcomes, together=together.outcomes, alone=own)
    found = _split(begun, given, together, alone, recipe, Run())
    assert [one.left for one in found.rounds][:1] == [given[2].name] and len(found.rounds[1].members) == 2
    assert found.outcomes[given[2].name] is own[given[2].name]
    if found.rounds[1].left is None:
        bodies = [found.outcomes[one.name].network.body for one in given[:2]]
        assert bodies[0] is bodies[1] and bodies[0] is not together.outcomes[given[0].name].network.body
    assert list(found.outcomes) == [one.name for one in given]


@pytest.mark.parametrize("share", [0.85, 0.9])
def test_equal_answers_never_split(share: float):
    together = learnt(a=share, b=share)
    found = decided(together, {"a": learnt(a=share), "b": learnt(b=share)})
    assert found.rounds[-1].left is None
