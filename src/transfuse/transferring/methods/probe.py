"""probe: a linear head on frozen features, its regularisation chosen by cross-validation.

Relations: the fastest method, the start of `finetune`, and the yardstick for both.
"""

from transfuse.core.nouns import Source, Task
from transfuse.core.runs import Run
from transfuse.measuring.metrics import PRIMARY
from transfuse.predicting.guarding import of_features
from transfuse.predicting.predict import activated
from transfuse.probing.learnt import Learnt
from transfuse.sources.network import Network
from transfuse.sources.opening import open_source
from transfuse.training.options import Fit
from transfuse.transferring.remembering import remembered
from transfuse.tuning.outcome import HeadShape, Outcome
from transfuse.tuning.starting import Depths, Probed, Solver, loaded, probed, seeded_head, set_linear
from transfuse.tuning.targets import scored, target_scale


def probe(
    source: Source,
    task: Task,
    *,
    run: Run = Run(),
    fit: Fit = Fit(),
    depths: Depths = "auto",
    solver: Solver = "auto",
    remember: bool = False,
) -> Outcome:
    """A linear head on the source's frozen, pooled features; calibrated by out-of-fold logits.

    `depths` is `final`, `several` or `many` (up to 4 or 12 depths side by side) or `auto`; `solver` is `ridge` (closed
    form), `logistic` or `auto`. `auto` takes what has the lowest out-of-fold loss. `remember` keeps the sums behind
    the head, for `update` and `forget`; they are personal data where the examples are.
    """
    found = probed(open_source(source, seed=fit.seed), task, fit=fit, run=run, depths=depths, solver=solver)
    return solved(found, task, remembered(found, task, fit) if remember else None)


def solved(found: Probed, task: Task, learnt: Learnt | None = None) -> Outcome:
    """A head that was found, under its body, as an outcome."""
    opened, head = found.opened, found.head
    linear = seeded_head(opened.feature_size, len(task.classes), HeadShape(), 0)
    set_linear(linear, head, task)
    outputs_NC = activated(head.out_of_fold_NC, task.kind, temperature=head.temperature)
    out_of_fold = scored(task.kind, task.splits["train"].targets, outputs_NC)
    return Outcome(
        network=Network(opened.body, linear),
        builder=opened.source.builder,
        preprocessing=opened.source.preprocessing,
        target_scale=target_scale(task),
        facts={
            "loaded": loaded(opened),
            "precision": found.precision,
            "deviation": found.deviation,
            "solver": head.method,
            "strength": head.strength,
            "features": opened.feature_size,
            "out_of_fold": {PRIMARY[task.kind]: out_of_fold[PRIMARY[task.kind]], "loss": out_of_fold["loss"]},
        },
        licence=opened.source.licence,
        out_of_fold_NC=outputs_NC,
        guard=of_features(found.x_ND, task),
        learnt=learnt,
    )
