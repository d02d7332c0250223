"""Students that learn together, each from the labels and from what the others answer.

Zhang, Xiang, Hospedales and Lu, "Deep Mutual Learning", arXiv 1706.00384: each minimises its loss on labels and the
mean of KL(others ‖ itself). Changed: all move in one step on the same batch, where the paper moves one after the other
(its gradients are those of the answers before the step), and the others are one teacher, the mean of their
probabilities, which has the same gradient at temperature 1. The losses are those of `method`; without one the paper's.

Letters: B examples, C classes, M students.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Kind, Model, Step
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.distilling.preparing import Plan, prepared
from transfuse.distilling.students import as_outcome, facts_of, keep, moving, resumed, started
from transfuse.distilling.terms import INNER, POOLED, Seen, Sizes, Terms, needs
from transfuse.sources.ensembles import ensemble
from transfuse.sources.network import Network
from transfuse.training.batches import Batch
from transfuse.training.loop import Moves, Objective
from transfuse.training.options import default_steps
from transfuse.tuning.outcome import HeadShape, Outcome
from transfuse.tuning.starting import seeded_head
from transfuse.tuning.tune import Workbench, calibrated, tune


class Peers(nn.Module):
    """Students side by side; together they answer by the mean of their probabilities (or values)."""

    def __init__(self, students: Sequence[Network], terms: Sequence[Terms], kind: Kind) -> None:
        super().__init__()
        self.students, self.terms, self.kind = nn.ModuleList(students), nn.ModuleList(terms), kind

    def forward(self, x: Tensor) -> Tensor:
        return mean_answer([student(x).float() for student in self.students], self.kind)


def mean_answer(answers: Sequence[Tensor], kind: Kind) -> Tensor:
    """The logits (B, C) of the mean of probabilities, or the mean of values."""
    z_MBC = torch.stack(list(answers))
    if kind == "regression":
        return z_MBC.mean(0)
    if kind == "single-label":
        return F.log_softmax(z_MBC, 2).logsumexp(0) - torch.tensor(len(answers)).log()
    return F.logsigmoid(z_MBC).logsumexp(0) - F.logsigmoid(-z_MBC).logsumexp(0)


def mutual(plan: Plan, run: Run) -> Outcome:
    """Train `plan.teaching.mutual` students together; the best of them by validation, or their mean.

    Raises `UsageError` for losses on inner layers.
    """
    if needs(plan.wanted) & (INNER | POOLED):
        raise UsageError(f"`method` of students that learn together must look at answers, but is '{plan.wanted}'.")
    bench, count = prepared(plan).bench, plan.teaching.mutual
    steps = plan.fit.steps or default_steps(len(bench.train_inputs), random=plan.random)
    plan = replace(plan, fit=replace(plan.fit, steps=steps))
    students = [_started(plan, place, run) for place in range(count)]
    sizes = Sizes(classes=len(plan.task.classes), examples=len(bench.train_inputs))
    terms = [Terms(plan.wanted, sizes, plan.fit.seed, plan.task.kind) for _ in students]
    peers = Peers(students, terms, plan.task.kind)
    moves = _moves(plan, peers)
    identity = {"student": plan.student.digest, "sum": str(plan.wanted), "mutual": count, "scratch": plan.random}
    whole = {**identity, "task": plan.task.digest, "moves": plain(moves), "fit": plain(plan.fit)}
    found = resumed(peers, whole, run)
    if found is None:
        objective = _objective(plan, bench)
        tuned = tune(peers, bench, moves=moves, fit=plan.fit, run=run, objective=objective, identity=identity)
        found = facts_of(tuned)
        keep(peers, found, whole, run)
    scores = [bench.validation(student)["score"] for student in students]
    best = max(range(count), key=scores.__getitem__)
    known = {**found["facts"], "peers": scores, "kept": "all" if plan.teaching.together else best}
    known |= {"sum": str(plan.wanted), "views": 0, "copied": [], "pairs": []}
    if plan.teaching.together:
        return _together(plan, students, {**found, "facts": known})
    known["validation"] = dict(bench.validation(students[best]))
    return as_outcome(plan, students[best], {**found, "facts": known, "temperature": calibrated(students[best], bench)})


def _started(plan: Plan, place: int, run: Run) -> Network:
    """Each from random weights of its own; of a pretrained student the heads differ, and only the first is solved."""
    mine = replace(plan, fit=replace(plan.fit, seed=plan.fit.seed + place))
    if plan.random or not place:
        return started(mine, run)
    student = started(plan, run)
    features = next(m.in_features for m in student.head.modules() if isinstance(m, nn.Linear))
    return Network(student.body, seeded_head(features, len(plan.task.classes), HeadShape(), mine.fit.seed))


def _objective(plan: Plan, bench: Workbench) -> Objective:
    count = len(bench.train_inputs)

    def objective(network: nn.Module, batch: Batch) -> Tensor:
        assert isinstance(network, Peers)
        answers = [student(batch.x) for student in network.students]
        share = float((batch.view_B.float().mean() * count) / max(1, plan.fit.steps * plan.fit.batch_size))
        total = answers[0].new_zeros((), dtype=torch.float32)
        with torch.autocast(answers[0].device.type, enabled=False):
            full = [answer.float() for answer in answers]
            for place, (mine, terms) in enumerate(zip(full, network.terms, strict=True)):
                others = [other.detach() for number, other in enumerate(full) if number != place]
                seen = Seen(
                    logits_BC=mine, teacher_BC=mean_answer(others, network.kind), y_B=batch.y, index_B=batch.index_B,
                    share=min(1.0, share),
                )  # fmt: skip
                total = total + plan.wanted.labels * bench.weighted(mine, batch) + terms(seen)
        return total / len(full)

    return objective


def _moves(plan: Plan, peers: Peers) -> Moves:
    groups = []
    for place in range(len(peers.students)):
        own = f"students.{place}."
        for group in moving(plan, peers, f"{own}body.").groups:
            names = tuple(n for n in group.names if n.startswith((own, f"terms.{place}.")))
            groups += [replace(group, names=names)] if names else []
    return Moves(groups=tuple(groups))


def _together(plan: Plan, students: Sequence[Network], found: dict[str, Any]) -> Outcome:
    """All of them as one network."""
    task, outcomes = plan.task, [as_outcome(plan, student, found) for student in students]
    models = [
        Model(
            name=f"student {place}", modality=task.modality, kind=task.kind, classes=task.classes,
            preprocessing=one.preprocessing, builder=one.builder, head=plain(one.head), network=one.network,
            provenance=Step(verb="distill", method="mutual"),
        )
        for place, one in enumerate(outcomes)
    ]  # fmt: skip
    made = ensemble(models, classes=task.classes, kind=task.kind, form="mean")
    head = nn.Linear(len(task.classes), len(task.classes))
    with torch.no_grad():
        head.weight.copy_(torch.eye(len(task.classes)))
        head.bias.zero_()
    return replace(outcomes[0], network=Network(made.body, head), builder=made.builder)
