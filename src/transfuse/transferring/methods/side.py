"""side: the source stays frozen; a path beside it learns what it lacks.

Zhang et al., "Side-Tuning: A Baseline for Network Adaptation via Additive Side Networks", arXiv 1912.13503. Both
forms: `blend` α·side(x) + (1−α)·source(x) on features, and `additive` α·W·x + source(x) with a linear W on the reduced
picture. Changed: the head starts as the probe of the source, so that α = 0 is the probe.

Relations: forgets nothing, since the source does not move; `finetune` moves it.
"""

from typing import Literal

import torch
from torch import nn

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Preprocessing, Source, Task
from transfuse.core.runs import Run
from transfuse.core.tables import chosen
from transfuse.sources.network import Network
from transfuse.sources.opening import open_source
from transfuse.sources.references import find
from transfuse.sources.sides import AdditiveBody, BlendedBody
from transfuse.training.loop import Group, Moves
from transfuse.training.options import Fit
from transfuse.tuning.outcome import HeadShape, Outcome
from transfuse.tuning.starting import Start, start
from transfuse.tuning.targets import target_scale
from transfuse.tuning.tune import tune, workbench


def side(
    source: Source,
    task: Task,
    *,
    run: Run = Run(),
    fit: Fit = Fit(),
    head: HeadShape = HeadShape(),
    form: Literal["blend", "additive"] = "blend",
    beside: str = "",
    alpha: float | None = None,
) -> Outcome:
    """Train a side path and the head; the source and its batch-norm statistics stay as they are.

    `beside` is a reference for the side network of the `blend` form, which sees the same pictures (empty: the source's
    own network, starting from its weights). `alpha` (0..1) is learnt from 0.5 (additive: 1) when None, else kept.
    """
    chosen("form of side-tuning", form, ("blend", "additive"))
    if alpha is not None and not 0 <= alpha <= 1:
        raise UsageError(f"`alpha` must be in 0..1, but is {alpha}.")
    begin = start(source, task, head=head, fit=fit, run=run)
    body, builder = _bodies(begin, form, beside, alpha, fit)
    network = Network(body, begin.network.head)
    bench = workbench(task, source.preprocessing, fit, probe=begin.solved)
    identity = {"source": source.digest, "method": "side", "form": form, "beside": beside, "alpha": alpha}
    result = tune(network, bench, moves=_moves(network, learn_alpha=alpha is None), fit=fit, run=run, identity=identity)
    learnt = float(body.alpha.detach())
    return Outcome(
        network=network,
        builder=builder,
        preprocessing=source.preprocessing,
        head=head,
        temperature=result.temperature,
        target_scale=target_scale(task),
        curves=result.trained.history,
        facts={**result.facts, "loaded": begin.loaded, "alpha": learnt},
        interrupted=result.trained.stopped_by == "interrupt",
        licence=source.licence,
    )


def _bodies(
    begin: Start, form: str, beside: str, alpha: float | None, fit: Fit
) -> tuple[BlendedBody | AdditiveBody, dict[str, object]]:
    pictures = begin.opened.source.preprocessing
    if not isinstance(pictures, Preprocessing):
        raise UsageError("`side` is for pictures. Use 'finetune', 'lora' or 'probe' for other data.")
    source, frozen, size = begin.opened.source, begin.opened.body, begin.opened.feature_size
    described: dict[str, object] = {"form": form, "source": source.builder, "size": size}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(fit.seed)
        if form == "additive":
            channels = pictures.channels
            additive = AdditiveBody(frozen, size, channels, 1.0 if alpha is None else alpha)
            return additive, {"side": {**described, "channels": channels}}
        other = open_source(find(beside) if beside else source, seed=fit.seed)
        blended = BlendedBody(frozen, other.body, size, other.feature_size, 0.5 if alpha is None else alpha)
    return blended, {"side": {**described, "side": other.source.builder, "side_size": other.feature_size}}


def _moves(network: nn.Module, *, learn_alpha: bool) -> Moves:
    moving = tuple(
        name
        for name, _ in network.named_parameters()
        if not name.startswith("body.source.") and (learn_alpha or "alpha" not in name.rpartition(".")[2])
    )
    return Moves(groups=(Group(names=moving),), still=("body.source",))
