"""Fusions of features as candidates of `fit`: what each is worth out of fold against the best source alone.

Where the names of files show that the test split asks for groups that the training split does not hold, the validation
split flatters, for it holds the same groups: then answers out of fold decide, whose folds hold such groups out.
Letters: N examples, C classes or target columns.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

import transfuse
from transfuse.core.errors import BudgetError
from transfuse.core.nouns import Model, Source, Step, Task
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.evaluating.assessing import Assessment
from transfuse.evaluating.compare import difference, in_words
from transfuse.fitting.candidates import Candidate, measured
from transfuse.fitting.progress import Progress
from transfuse.measuring.intervals import paired
from transfuse.measuring.metrics import PRIMARY
from transfuse.predicting.predict import activated
from transfuse.training.options import Fit
from transfuse.transferring.feature_fusions import Blocks, blocks_of, fuse_blocks
from transfuse.transferring.fused_probe import Joined
from transfuse.tuning.outcome import Outcome
from transfuse.tuning.recording import as_model, described
from transfuse.tuning.targets import scored

JOINS = ("add", "gated", "attention")
"""Fusions that are trained."""
METHODS = ("fused_probe", "product", *JOINS)
"""As the methods of candidates; `fused_probe` is the linear head on all features."""
_SHARE = 0.3
"""Of the time that is left, for the trainings of one join."""


@dataclass(frozen=True, kw_only=True)
class Fused:
    """A fusion of features, with what it answers out of fold."""

    method: str
    model: Model
    outcome: Outcome

    @property
    def loss(self) -> float:
        """Out of fold."""
        return float(self.outcome.facts["out_of_fold"]["loss"])


def fused(found: Joined, method: str, sources: Sequence[Source], task: Task, *, fit: Fit, run: Run, of: str) -> Fused:
    """The joined sources as one model. `sources` go into the record, `of` into its name."""
    started = time.monotonic()
    return _as_model(blocks_of(found, task, run=run), method, sources, fit, run, of, started)


def _as_model(
    blocks: Blocks, method: str, sources: Sequence[Source], fit: Fit, run: Run, of: str, started: float
) -> Fused:
    outcome = fuse_blocks(blocks, "concat" if method == "fused_probe" else method, fit=fit, run=run)
    step = Step(
        verb="fuse",
        method=method,
        options={"fit": plain(fit), "found": plain(outcome.facts)},
        inputs=(*(described(source) for source in sources), described(blocks.task)),
        digests={"task": blocks.task.digest},
        seconds=round(time.monotonic() - started, 3),
        version=transfuse.__version__,
    )
    name = f"{method.replace('fused_probe', 'fused probe')} of {of}"
    return Fused(method=method, model=as_model(outcome, blocks.task, step, name), outcome=outcome)


def more_fusions(
    found: Joined,
    sources: Sequence[Source],
    task: Task,
    run: Run,
    progress: Progress,
    *,
    fit: Fit,
    joins: bool,
    of: str,
) -> list[Fused]:
    """The product of experts, and of the trained joins the one that is best out of fold."""
    started, blocks = time.monotonic(), blocks_of(found, task, run=run)
    made = [_as_model(blocks, "product", sources, fit, run, of, started)]
    trained: list[Fused] = []
    for method in JOINS if joins else ():
        part = run.part(method, run.remaining() * _SHARE)
        try:
            trained.append(_as_model(blocks, method, sources, fit, part, of, time.monotonic()))
        except BudgetError as error:
            progress.warn("budget", f"{method} was not tried: {error} Give a longer `budget`.")
            break
        if trained[-1].outcome.interrupted:
            progress.interrupted = True
            break
    return [*made, min(trained, key=lambda one: one.loss)] if trained else made


def decide(made: Sequence[Fused], alone: Fused, task: Task, progress: Progress) -> list[Fused]:
    """Record what each fusion is worth out of fold against the best source alone; those that are proven better."""
    gaps = {one.model.name: out_of_fold_gap(one, alone, task) for one in made}
    said = [in_words(name, alone.model.name, PRIMARY[task.kind], gap) for name, gap in gaps.items()]
    score = alone.outcome.facts["out_of_fold"][PRIMARY[task.kind]]
    better = [name for name, gap in gaps.items() if gap["low"] > 0]
    worse = [name for name, gap in gaps.items() if gap["high"] < 0]
    answer = (
        f"Yes: {', '.join(better)}." if better else "Not proven." if len(worse) < len(made) else "No: fusing hurts."
    )
    evidence = f"{alone.model.name}: {PRIMARY[task.kind]} {score:.4f}. {' '.join(said)} [out of fold]"
    progress.decide("Does fusing beat the best of its parts alone?", evidence, answer)
    return [one for one in made if one.model.name in better]


def out_of_fold_gap(one: Fused, other: Fused, task: Task) -> dict[str, float]:
    """The metric of one minus that of the other on the training split, each answer by a head that did not see it."""
    train, name = task.splits["train"], PRIMARY[task.kind]
    outputs = [_held(part) for part in (one, other)]
    return dict(paired(task.kind, name, train.targets, *outputs, groups=train.groups))


def as_candidate(
    one: Fused, sources: Sequence[Source], task: Task, options: Mapping[str, Any], *, groups: bool
) -> Candidate:
    """A fusion among the candidates. `groups`: judged out of fold in place of the validation split."""
    found = measured(
        one.model,
        sources[0],
        task,
        method=one.method,
        options=options,
        curves=one.outcome.curves,
        out_of_fold_NC=one.outcome.out_of_fold_NC,
    )
    found = replace(found, parts=tuple(sources))
    return replace(found, validation=found.out_of_fold, out_of_fold=None) if groups and found.out_of_fold else found


def scores(found: Joined, task: Task) -> str:
    """What each block alone answers rightly out of fold, in words."""
    metric, targets = PRIMARY[task.kind], task.splits["train"].targets
    told = []
    for name, probe in found.probes.items():
        outputs_NC = activated(probe.head.out_of_fold_NC, task.kind, temperature=probe.head.temperature)
        told.append(f"{name} {metric} {scored(task.kind, targets, outputs_NC)[metric]:.4f}")
    return ", ".join(told)


def warn_of_groups(found: Joined, progress: Progress) -> None:
    """Say that the test split asks for groups that are not in the training split, if the names of files say so."""
    if found.parted is None:
        return
    message = (
        f"The names of files show groups: {found.parted.words}. Answers about known groups flatter, so answers out of"
        " fold hold one group out at a time, and decide. If they are no groups, rename the files; if they are, a column"
        " with them for --group makes splits that respect them."
    )
    progress.warn("groups-in-names", message)


def findings(taken: Candidate, everyone: Sequence[Candidate], assessments: Mapping[str, Assessment]) -> list[str]:
    """Each fusion against the best of its parts alone, on the split that is read last."""
    fusions = [c for c in everyone if c.parts and (c.method in METHODS or c.method == "probe")]
    alone = max((c for c in fusions if _single(c)), key=lambda c: c.score, default=None)
    if alone is None:
        return []
    said, metric = [], PRIMARY[alone.validation.kind]
    for one in sorted((c for c in fusions if not _single(c)), key=lambda c: c is not taken):
        gap = difference(assessments[one.name], assessments[alone.name])
        begin = "FUSING HURTS." if gap["high"] < 0 else "Fusing helped." if gap["low"] > 0 else "Fusing is not proven."
        said.append(f"{begin} {in_words(one.name, alone.name, metric, gap)}")
    return said


def _single(candidate: Candidate) -> bool:
    return len(candidate.facts.get("sources", ())) == 1


def _held(one: Fused) -> np.ndarray:
    assert one.outcome.out_of_fold_NC is not None
    return one.outcome.out_of_fold_NC
