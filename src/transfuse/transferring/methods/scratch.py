"""scratch: the same network from random weights: what every transfer must beat.

Relations: the baseline of `finetune`, with the same loop, batches and stop rules.
"""

from transfuse.core.nouns import Source, Task
from transfuse.core.runs import Run
from transfuse.training.options import Fit
from transfuse.tuning.moving import layerwise
from transfuse.tuning.outcome import HeadShape, Outcome
from transfuse.tuning.starting import start
from transfuse.tuning.targets import target_scale
from transfuse.tuning.tune import tune, workbench


def scratch(
    source: Source, task: Task, *, run: Run = Run(), fit: Fit = Fit(), head: HeadShape = HeadShape()
) -> Outcome:
    """Train the source's architecture from random weights, all layers at one rate, batch norms adapting."""
    begin = start(source, task, head=head, fit=fit, run=run, pretrained=False)
    bench = workbench(task, source.preprocessing, fit)
    moves = layerwise(begin.network, decay=1.0, batch_norm="adapt")
    identity = {"source": source.digest, "method": "scratch"}
    result = tune(begin.network, bench, moves=moves, fit=fit, run=run, identity=identity)
    return Outcome(
        network=begin.network,
        builder=source.builder,
        preprocessing=source.preprocessing,
        head=head,
        temperature=result.temperature,
        target_scale=target_scale(task),
        curves=result.trained.history,
        facts=result.facts,
        interrupted=result.trained.stopped_by == "interrupt",
    )
