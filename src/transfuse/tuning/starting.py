"""Where a method starts: the opened source, and a head that already solves the task on frozen features.

Letters: N examples, C classes or target columns, D features.
"""

from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import torch
from torch import nn

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Features, Source, Task
from transfuse.core.randomness import key
from transfuse.core.runs import Run
from transfuse.core.tables import chosen
from transfuse.probing.heads import Head, fit_head
from transfuse.sources.depths import FINAL, deep, spread
from transfuse.sources.extraction import features
from transfuse.sources.network import Network, new_head
from transfuse.sources.opening import Opened, open_source
from transfuse.tasks.name_groups import Parted
from transfuse.training.losses import example_weights
from transfuse.training.options import Fit
from transfuse.tuning.answering import answers_the_same
from transfuse.tuning.outcome import HeadShape
from transfuse.tuning.targets import TargetScale, target_scale

Depths = Literal["auto", "final", "several", "many"]
COUNTS = {"final": 1, "several": 4, "many": 12}
"""How many depths stand side by side, at most."""
Solver = Literal["auto", "ridge", "logistic"]


@dataclass(frozen=True, kw_only=True)
class Start:
    """An opened source under a new head."""

    opened: Opened
    network: Network
    probe: Head | None
    """The closed-form head it starts from; None when the head's shape has none."""

    answers: bool = False
    """The head is the source's own, which was made for the same classes."""

    @property
    def solved(self) -> Network | None:
        """The network, when it solves the task already by the probe's or its own head."""
        return self.network if self.probe is not None or self.answers else None

    @property
    def loaded(self) -> str:
        """How much of the source's weights was loaded, in words."""
        return loaded(self.opened)


@dataclass(frozen=True, kw_only=True)
class Probed:
    """A head on frozen features."""

    opened: Opened
    """With the body whose features the head takes."""
    head: Head
    x_ND: np.ndarray
    """Features of the training split that the head was fitted to."""
    precision: str
    """Number format in which the features were computed."""
    deviation: float | None
    """Relative difference of the features to float32; None when that is the precision."""
    parted: Parted | None = None
    """The groups that its folds keep whole, where the names of files say that the test split asks for others."""


def start(
    source: Source,
    task: Task,
    *,
    head: HeadShape,
    fit: Fit,
    run: Run,
    depths: Depths = "final",
    pretrained: bool = True,
) -> Start:
    """The source's body under a head of the wanted shape; a linear head starts as the probe's solution.

    The probe's temperature is folded into its weights, so that training starts from calibrated outputs
    (head first, then all layers: Kumar et al., arXiv 2202.10054).
    """
    opened = open_source(source, pretrained=pretrained, seed=fit.seed)
    own = opened.source_head
    plain = pretrained and head.kind == "linear" and isinstance(own, nn.Linear) and task.kind != "regression"
    if plain and task.modality == "table" and answers_the_same(source, task):  # the same question of other people
        assert own is not None
        return Start(opened=opened, network=Network(opened.body, own), probe=None, answers=True)
    probe = None
    if pretrained and head.kind == "linear":
        solved = probed(opened, task, fit=fit, run=run, depths=depths, solver="ridge")
        opened, probe = solved.opened, solved.head
    new = seeded_head(opened.feature_size, len(task.classes), head, fit.seed)
    if probe is not None:
        set_linear(new, probe, task)
    return Start(opened=opened, network=Network(opened.body, new), probe=probe)


def require_pictures(source: Source, method: str) -> None:
    """Raise `UsageError` for a source of other data than pictures."""
    if source.modality != "image":
        raise UsageError(f"`{method}` is for pictures. Use 'finetune', 'lora' or 'probe' for other data.")


def loaded(opened: Opened) -> str:
    """How much of a source's weights was loaded, in words."""
    return opened.match.summary() if opened.match else "random weights: nothing was loaded"


def seeded_head(feature_size: int, outputs: int, shape: HeadShape, seed: int) -> nn.Module:
    """A new head whose random weights depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(key(seed, "head"))
        return new_head(
            feature_size,
            outputs,
            kind=shape.kind,
            hidden=shape.hidden,
            activation=shape.activation,
            dropout=shape.dropout,
        )


def probed(
    opened: Opened,
    task: Task,
    *,
    fit: Fit,
    run: Run,
    depths: Depths = "auto",
    solver: Solver = "auto",
) -> Probed:
    """The cross-validated head on cached features of the training split, and the body whose features it takes.

    `depths` is `final` (the source's last features), `several` or `many` (up to 4 or 12 depths side by side), or
    `auto`: the one whose ridge head has the lowest out-of-fold loss; fewer on a tie and where there is no more to cut.
    """
    chosen("choice of depths", depths, ("auto", *COUNTS))
    counts = COUNTS.values() if depths == "auto" else [COUNTS[depths]]
    wanted = list(dict.fromkeys(spread(opened.depths, count) for count in counts))
    every = tuple(dict.fromkeys(name for names in wanted for name in names))
    found = cast("dict[str, Features]", features(opened, task, "train", every, run=run))
    side_by_side = {names: np.concatenate([found[name].x_ND for name in names], axis=1) for names in wanted}
    names = wanted[0]
    if len(wanted) > 1:
        names = min(wanted, key=lambda names: fitted(side_by_side[names], task, fit, "ridge").score)
    return Probed(
        opened=opened if names == (FINAL,) else deep(opened, names),
        head=fitted(side_by_side[names], task, fit, solver),
        x_ND=side_by_side[names],
        precision=found[FINAL].precision,
        deviation=found[FINAL].deviation,
    )


def fitted(x_ND: np.ndarray, task: Task, fit: Fit, solver: Solver, parted: Parted | None = None) -> Head:
    """The cross-validated head on features of the training split; folds keep the groups whole, or those given."""
    train = task.splits["train"]
    return fit_head(
        x_ND,
        train.targets,
        task.kind,
        method=solver,
        classes=len(task.classes),
        weights_N=example_weights(task, fit),
        seed=fit.seed,
        groups=train.groups if parted is None else parted.groups,
    )


def set_linear(head: nn.Module, probe: Head, task: Task) -> None:
    """Write the probe's weights, over its temperature, into a linear head; regression in standardised units."""
    write_linear(head, (probe.weight_CD, probe.bias_C), probe.temperature, target_scale(task))


def write_linear(
    head: nn.Module, solution: tuple[np.ndarray, np.ndarray], temperature: float, scale: TargetScale | None
) -> None:
    """Write weights (C, D) and bias (C,) over a temperature into a linear head; regression in units of `scale`."""
    weight_CD, bias_C = (part.astype(np.float64) for part in solution)
    if scale is not None:
        mean_C, deviation_C = np.asarray(scale[0]), np.asarray(scale[1])
        weight_CD, bias_C = weight_CD / deviation_C[:, None], (bias_C - mean_C) / deviation_C
    else:
        weight_CD, bias_C = weight_CD / temperature, bias_C / temperature
    linear = next(module for module in head.modules() if isinstance(module, nn.Linear))
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(weight_CD))
        linear.bias.copy_(torch.from_numpy(bias_C))
