"""A linear head on the frozen features of several sources side by side, when joining them is worth it.

Each source brings the depths that its own probe chose. They join by evidence (`probing/blocks.py`); one strength a
source is chosen by cross-validation (`probing/block_strengths.py`), and what each bought is measured out of fold.
Relations: `probe` is this with one source; `mixed_probe` is for the columns of a table.
Letters: N examples, D features, C classes or target columns.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from transfuse.core.nouns import Source, Task
from transfuse.core.runs import Run
from transfuse.measuring.metrics import PRIMARY
from transfuse.predicting.predict import activated
from transfuse.probing.block_gains import Gain, block_gains
from transfuse.probing.block_statistics import fold_moments, whole
from transfuse.probing.block_strengths import fit_blocks, tune_strengths
from transfuse.probing.blocks import choose_blocks
from transfuse.probing.calibrating import temperature
from transfuse.probing.learnt import coded
from transfuse.sources.network import Network
from transfuse.sources.opening import Opened, open_source
from transfuse.tasks.name_groups import Parted
from transfuse.training.losses import example_weights
from transfuse.training.options import Fit
from transfuse.tuning.outcome import HeadShape, Outcome
from transfuse.tuning.starting import Probed, fitted, probed, seeded_head, write_linear
from transfuse.tuning.targets import scored, target_scale


@dataclass(frozen=True, kw_only=True)
class Joined:
    """Which sources join, in order, and what each bought."""

    probes: Mapping[str, Probed]
    """By name, in the order in which they joined."""
    gains: tuple[Gain, ...]
    rejected: Mapping[str, float]
    """Sources left out, with the rise of the log evidence that each would have brought."""

    @property
    def parted(self) -> Parted | None:
        """The groups that folds keep whole, where the names of some source's files say so."""
        return next((probe.parted for probe in self.probes.values() if probe.parted is not None), None)

    @property
    def fold_N(self) -> np.ndarray:
        """Fold of each training example: of the source with such groups, if there is one."""
        probes = list(self.probes.values())
        return next((probe for probe in probes if probe.parted is not None), probes[0]).head.fold_N


@dataclass(frozen=True, kw_only=True)
class _Solution:
    """A linear head on all features, judged out of fold."""

    solver: str
    weight_CD: np.ndarray
    bias_C: np.ndarray
    temperature: float
    outputs_NC: np.ndarray
    """Out of fold, calibrated."""
    judged: Mapping[str, float]


def joined(sources: Sequence[Source], task: Task, *, fit: Fit, run: Run = Run(), every: bool = False) -> Joined:
    """The sources that raise the evidence on the training split when their features stand side by side.

    `every` joins all of them, in the order given, whatever the evidence says.
    """
    probes = {s.name: probed(open_source(s, seed=fit.seed), task, fit=fit, run=run, solver="ridge") for s in sources}
    if every:
        return Joined(probes=probes, gains=(), rejected={})
    return chosen_of(probes, task, fit)


def chosen_of(probes: Mapping[str, Probed], task: Task, fit: Fit) -> Joined:
    """Those whose features raise the evidence side by side, in the order in which they do."""
    blocks = {name: found.x_ND for name, found in probes.items()}
    fold_N = Joined(probes=probes, gains=(), rejected={}).fold_N
    folds = fold_moments(blocks, _targets(task), fold_N, example_weights(task, fit))
    choice = choose_blocks(whole(folds), {name: x_ND.shape[1] for name, x_ND in blocks.items()})
    train = task.splits["train"]
    gains = block_gains(blocks, train.targets, task.kind, choice, folds=folds, fold_N=fold_N, groups=train.groups)
    return Joined(
        probes={step.block: probes[step.block] for step in choice.steps}, gains=gains, rejected=choice.rejected
    )


def headed(together: Opened, x_ND: np.ndarray, found: Joined, task: Task, fit: Fit) -> Outcome:
    """The better of two heads on all features: one strength for all of them, or one for each of the joined."""
    widths = {name: probe.opened.feature_size for name, probe in found.probes.items()}
    solutions = (_one_strength(x_ND, found, task, fit), _strength_a_source(x_ND, widths, found, task, fit))
    best = min((s for s in solutions if s is not None), key=lambda solution: solution.judged["loss"])
    head = seeded_head(together.feature_size, len(task.classes), HeadShape(), fit.seed)
    write_linear(head, (best.weight_CD, best.bias_C), best.temperature, target_scale(task))
    return Outcome(
        network=Network(together.body, head),
        builder=together.source.builder,
        preprocessing=together.source.preprocessing,
        target_scale=target_scale(task),
        facts={
            "sources": list(widths),
            "solver": best.solver,
            "features": together.feature_size,
            "out_of_fold": {PRIMARY[task.kind]: best.judged[PRIMARY[task.kind]], "loss": best.judged["loss"]},
            **explained(found),
        },
        licence=together.source.licence,
        out_of_fold_NC=best.outputs_NC,
    )


def explained(found: Joined) -> dict[str, Any]:
    """What joined, what it bought out of fold, and what was left out, as plain values."""
    bought = [{"source": gain.block, "metric": gain.metric, **dict(gain.gain)} for gain in found.gains]
    return {"bought": bought, "left_out": dict(found.rejected)}


def _targets(task: Task) -> np.ndarray:
    return coded(task.splits["train"].targets, task.kind, len(task.classes))


def _one_strength(x_ND: np.ndarray, found: Joined, task: Task, fit: Fit) -> _Solution:
    head = fitted(x_ND, task, fit, "auto", found.parted)
    outputs_NC = activated(head.out_of_fold_NC, task.kind, temperature=head.temperature)
    return _Solution(
        solver=head.method,
        weight_CD=head.weight_CD,
        bias_C=head.bias_C,
        temperature=head.temperature,
        outputs_NC=outputs_NC,
        judged=scored(task.kind, task.splits["train"].targets, outputs_NC),
    )


def _strength_a_source(
    x_ND: np.ndarray, widths: Mapping[str, int], found: Joined, task: Task, fit: Fit
) -> _Solution | None:
    """Ridge with one strength a source; None when not all of them still join."""
    borders = np.cumsum(list(widths.values()))[:-1]
    blocks = dict(zip(widths, np.split(x_ND, borders, axis=1), strict=True))
    fold_N, train = found.fold_N, task.splits["train"]
    folds = fold_moments(blocks, _targets(task), fold_N, example_weights(task, fit))
    choice = choose_blocks(whole(folds), widths)
    if len(choice.steps) < len(widths):
        return None
    strengths = tune_strengths(folds, widths).strengths
    weight_CD, bias_C = fit_blocks(whole(folds), widths, strengths)
    last = block_gains(blocks, train.targets, task.kind, choice, folds=folds, fold_N=fold_N, strengths=strengths)[-1]
    # labels 0 and 1 become -1 and 1, so that the sigmoid's border at 0 is halfway between the two
    slope, shift = (2, -1) if task.kind == "multi-label" else (1, 0)
    held_NC = slope * last.outputs_NC + shift
    warmth = temperature(held_NC, train.targets, task.kind)
    outputs_NC = activated(held_NC, task.kind, temperature=warmth)
    return _Solution(
        solver="ridge with a strength a source",
        weight_CD=slope * weight_CD,
        bias_C=slope * bias_C + shift,
        temperature=warmth,
        outputs_NC=outputs_NC,
        judged=scored(task.kind, train.targets, outputs_NC),
    )
