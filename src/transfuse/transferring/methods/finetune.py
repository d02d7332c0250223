"""finetune: the head first from the probe's solution, then all layers at rates that decay towards the input.

Head first: Kumar et al., arXiv 2202.10054 (LP-FT). Layer-wise rates: Howard and Ruder, arXiv 1801.06146.
Interpolation with the start: Wortsman et al., arXiv 2109.01903 (WiSE-FT). Changed: the head is the closed-form probe,
not a trained one, and the rate comes from a short search.

Relations: `l2sp`, `bss`, `delta` and `co_tuning` add a regulariser to this; `last_stages` moves only the end.
"""

from transfuse.core.nouns import Source, Task
from transfuse.core.runs import Run
from transfuse.training.averaging import copied
from transfuse.training.loop import Objective
from transfuse.training.options import Fit
from transfuse.transferring.interpolating import keep_best_between
from transfuse.tuning.moving import BatchNorm, layerwise
from transfuse.tuning.outcome import HeadShape, Outcome
from transfuse.tuning.starting import Depths, Start, start
from transfuse.tuning.targets import target_scale
from transfuse.tuning.tune import Workbench, calibrated, tune, workbench


def finetune(
    source: Source,
    task: Task,
    *,
    run: Run = Run(),
    fit: Fit = Fit(),
    head: HeadShape = HeadShape(),
    depths: Depths = "final",
    layer_decay: float = 0.8,
    batch_norm: BatchNorm = "frozen",
    interpolate: bool = True,
) -> Outcome:
    """All layers move.

    `depths` is what the head sees (see `probe`). `layer_decay` (0..1) is the factor on the rate from one stage to the
    one before it.

    `interpolate` sweeps θ(α) = (1−α)·θ_source + α·θ_tuned on the validation split and keeps the best α.
    """
    begin = start(source, task, head=head, fit=fit, run=run, depths=depths)
    bench = workbench(task, source.preprocessing, fit, probe=begin.solved)
    return tuned(
        begin,
        bench,
        fit=fit,
        run=run,
        head=head,
        layer_decay=layer_decay,
        batch_norm=batch_norm,
        interpolate=interpolate,
    )


def tuned(
    begin: Start,
    bench: Workbench,
    *,
    fit: Fit,
    run: Run,
    head: HeadShape,
    layer_decay: float,
    batch_norm: BatchNorm,
    interpolate: bool,
    objective: Objective | None = None,
    method: str = "finetune",
) -> Outcome:
    """Fine-tune an opened start; `objective` is the loss with a method's regulariser in it."""
    source = begin.opened.source
    origin = copied(begin.network)
    moves = layerwise(begin.network, decay=layer_decay, batch_norm=batch_norm)
    identity = {"source": source.digest, "method": method}
    result = tune(begin.network, bench, moves=moves, fit=fit, run=run, objective=objective, identity=identity)
    facts = {**result.facts, "loaded": begin.loaded}
    if interpolate and begin.solved is not None:
        facts["interpolation"] = keep_best_between(begin.network, origin, bench.validation)
    return Outcome(
        network=begin.network,
        builder=source.builder,
        preprocessing=source.preprocessing,
        head=head,
        temperature=calibrated(begin.network, bench),
        target_scale=target_scale(bench.task),
        curves=result.trained.history,
        facts=facts,
        interrupted=result.trained.stopped_by == "interrupt",
        licence=source.licence,
    )
