"""A group of tasks learnt by one network: heads first from closed-form probes, then trunk and heads together.

A task alone is a group of one, so that a task's own model is made by the very same recipe.
Letters: N examples, C classes or target columns of a task.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Source, Task
from transfuse.core.runs import Run
from transfuse.predicting.predict import activated
from transfuse.probing.calibrating import temperature
from transfuse.sources.network import Network, SharedNetwork
from transfuse.sources.opening import Opened, open_source
from transfuse.training.averaging import copied
from transfuse.training.balancing import Balancing, balance_of
from transfuse.training.loop import Group, Moves, Trained
from transfuse.training.options import Fit
from transfuse.transferring.interpolating import keep_best_between
from transfuse.transferring.sharing.fits import for_task
from transfuse.transferring.sharing.keeping import Kept
from transfuse.transferring.sharing.lessons import Lessons, last_shared, prepared
from transfuse.tuning.moving import BatchNorm, layerwise
from transfuse.tuning.outcome import HeadShape, Outcome
from transfuse.tuning.planning import Job, planned
from transfuse.tuning.starting import loaded, probed, seeded_head, set_linear
from transfuse.tuning.targets import target_scale

_PACE_OF_BALANCE = 10.0
"""Factor on the rate of what the balance learns: a few numbers that should keep up with the losses they weigh."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How every group is learnt: the same for tasks together and for each alone."""

    source: Source
    fit: Fit
    head: HeadShape
    balancing: Balancing
    layer_decay: float
    batch_norm: BatchNorm


@dataclass(frozen=True, kw_only=True)
class Learnt:
    """A group's network, and what each of its tasks answers on its validation split."""

    outcomes: Mapping[str, Outcome]
    """By task; their networks have one body."""
    answers: Mapping[str, np.ndarray]
    """By task, (N, C) calibrated."""
    interrupted: bool = False


def learn(tasks: Sequence[Task], recipe: Recipe, run: Run) -> Learnt:
    """Train one network for the tasks; what a killed run had finished is taken as it is.

    Raises `BudgetError` when the time left does not allow a single step.
    """
    opened = open_source(recipe.source, seed=recipe.fit.seed)
    if last_shared(opened.body) is None:
        raise UsageError(f"'{recipe.source.name}' has no weights that could move. Give trunk='frozen'.")
    network = _started(opened, tasks, recipe, run)
    lessons = prepared(tasks, opened, network, recipe.fit, solved=recipe.head.kind == "linear")
    balance = balance_of(
        recipe.balancing, [task.kind for task in tasks], [lesson.knowing_nothing() for lesson in lessons.each]
    )
    network.add_module("balance", balance)  # so that it is trained, averaged and kept with the network
    kept = Kept(folder=run.checkpoints, identity=_identity(tasks, recipe, opened))
    facts = kept.restored(network)
    if facts is None:
        facts = _trained(network, lessons, recipe, run, kept.identity)
        if facts["stopped_by"] != "interrupt":
            kept.keep(network, facts)
    network.eval()
    facts = {**facts, "loaded": loaded(opened), "loss_weights": balance.weights()}
    return _learnt(network, lessons, recipe, opened, facts)


def _started(opened: Opened, tasks: Sequence[Task], recipe: Recipe, run: Run) -> SharedNetwork:
    """The source's body under a head for each task, each a linear one that solves its task on frozen features."""
    heads = []
    for task in tasks:
        head = seeded_head(opened.feature_size, len(task.classes), recipe.head, recipe.fit.seed)
        if recipe.head.kind == "linear":
            fit = for_task(recipe.fit, task)
            set_linear(head, probed(opened, task, fit=fit, run=run, depths="final", solver="ridge").head, task)
        heads.append(head)
    return SharedNetwork(opened.body, heads)


def _trained(
    network: SharedNetwork, lessons: Lessons, recipe: Recipe, run: Run, identity: Mapping[str, Any]
) -> dict[str, Any]:
    """Train in place, and keep the best of the line between start and end; what happened, as plain values."""
    origin = copied(network)
    job = Job(
        network=network,
        batches=lessons.streams,
        objective=lessons.objective,
        moves=_moves(network, recipe),
        validate=lessons.validate,
        identity=identity,
    )
    plan = planned(job, recipe.fit, run)
    trained: Trained = job.train(plan.fit, run)
    facts = {
        "steps": trained.steps,
        "steps_wanted": plan.steps_wanted,
        "rate": plan.fit.rate,
        "rate_search": list(plan.trials),
        "stopped_by": trained.stopped_by,
        "history": list(trained.history),
    }
    if recipe.head.kind == "linear":
        facts["interpolation"] = keep_best_between(network, origin, lessons.validate)
    return facts


def _moves(network: SharedNetwork, recipe: Recipe) -> Moves:
    """Layers of the trunk at rates that decay towards the input, heads at the full one, the balance at its own."""
    moves = layerwise(network, decay=recipe.layer_decay, batch_norm=recipe.batch_norm)
    balance = tuple(name for name, _ in network.named_parameters() if name.startswith("balance."))
    groups = [replace(group, names=tuple(n for n in group.names if n not in balance)) for group in moves.groups]
    own = (Group(names=balance, rate_scale=_PACE_OF_BALANCE),) if balance else ()
    return replace(moves, groups=(*groups, *own))


def _identity(tasks: Sequence[Task], recipe: Recipe, opened: Opened) -> dict[str, Any]:
    """What the work is, so that it is resumed by the same work only."""
    return {
        "method": "shared",
        "source": opened.source.digest,
        "tasks": [task.digest for task in tasks],
        "balancing": recipe.balancing,
        "layer_decay": recipe.layer_decay,
        "batch_norm": recipe.batch_norm,
        "head": recipe.head,
        "fit": recipe.fit,
    }


def _learnt(
    network: SharedNetwork, lessons: Lessons, recipe: Recipe, opened: Opened, facts: Mapping[str, Any]
) -> Learnt:
    """The group as an outcome for each task, calibrated on its own validation split."""
    outcomes, answers = {}, {}
    parts = zip(lessons.each, network.heads, lessons.logits(network), strict=True)
    for t, (lesson, head, logits_NC) in enumerate(parts):
        task, valid = lesson.task, lesson.task.splits["valid"]
        regression = task.kind == "regression"
        warmth = 1.0 if regression else temperature(logits_NC, valid.targets, task.kind)
        own = {name: value for name, value in facts.items() if name not in ("history", "loss_weights")}
        if facts["loss_weights"] is not None:
            own["loss_weight"] = facts["loss_weights"][t]
        outcomes[task.name] = Outcome(
            network=Network(network.body, head),
            builder=opened.source.builder,
            preprocessing=opened.source.preprocessing,
            head=recipe.head,
            temperature=warmth,
            target_scale=target_scale(task),
            curves=lessons.curves(facts["history"], t),
            facts={**own, "augmentation": lesson.bench.augmentation},
            interrupted=facts["stopped_by"] == "interrupt",
            licence=opened.source.licence,
        )
        answers[task.name] = activated(
            logits_NC, task.kind, temperature=warmth, target_scale=outcomes[task.name].target_scale
        )
    return Learnt(outcomes=outcomes, answers=answers, interrupted=facts["stopped_by"] == "interrupt")
