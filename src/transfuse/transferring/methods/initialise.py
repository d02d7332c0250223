"""initialise: start one network with those weights of another that fit it by name and shape.

Relations: `finetune` keeps the source's own network and its probe; here the network may differ (`into`), so the head
and all that did not fit start at random, and every layer moves at one rate.
"""

from collections.abc import Sequence

from transfuse.core.nouns import Source, Task
from transfuse.core.runs import Run
from transfuse.sources.network import Network
from transfuse.sources.opening import open_source
from transfuse.sources.references import find
from transfuse.training.options import Fit
from transfuse.tuning.moving import BatchNorm, layerwise
from transfuse.tuning.outcome import HeadShape, Outcome
from transfuse.tuning.starting import seeded_head
from transfuse.tuning.targets import target_scale
from transfuse.tuning.tune import tune, workbench
from transfuse.weights.matching import load_into


def initialise(
    source: Source,
    task: Task,
    *,
    run: Run = Run(),
    fit: Fit = Fit(),
    head: HeadShape = HeadShape(),
    into: str = "",
    new: Sequence[str] = (),
    batch_norm: BatchNorm = "adapt",
) -> Outcome:
    """Train the network `into` (a reference; empty: the source's own) from the source's weights.

    Strict: every tensor must fit in both directions, unless its name matches a regular expression of `new`.
    """
    target = find(into) if into else source
    opened = open_source(target, pretrained=False, seed=fit.seed)
    match = load_into(opened.body, open_source(source, seed=fit.seed).body.state_dict(), new=tuple(new))
    network = Network(opened.body, seeded_head(opened.feature_size, len(task.classes), head, fit.seed))
    bench = workbench(task, target.preprocessing, fit)
    moves = layerwise(network, decay=1.0, batch_norm=batch_norm)
    identity = {"source": source.digest, "into": target.digest, "method": "initialise", "new": list(new)}
    result = tune(network, bench, moves=moves, fit=fit, run=run, identity=identity)
    return Outcome(
        network=network,
        builder=target.builder,
        preprocessing=target.preprocessing,
        head=head,
        temperature=result.temperature,
        target_scale=target_scale(task),
        curves=result.trained.history,
        facts={**result.facts, "loaded": match.summary()},
        interrupted=result.trained.stopped_by == "interrupt",
        licence=source.licence,
    )
