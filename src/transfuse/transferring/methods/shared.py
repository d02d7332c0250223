"""shared: one trunk for several tasks, a head for each; tasks that are proven to hurt each other are split.

Hard parameter sharing (Caruana, "Multitask learning", 1997), losses balanced by uncertainty (Kendall et al., arXiv
1705.07115), by gradients (GradNorm, Chen et al., arXiv 1711.02257) or not at all, which nothing was proven to beat here
nor in Kurin et al., "In defense of the unitary scalarization", arXiv 2201.04122. Changed: heads start as closed-form
probes, and every task is trained alone as well, by the same recipe, to tell what sharing gained or cost it.

Relations: `finetune` of several tasks at once; with a frozen trunk `probe` of several tasks on one extraction.
"""

from collections.abc import Sequence
from typing import Literal

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Source, Task
from transfuse.core.runs import Run
from transfuse.sources.opening import open_source
from transfuse.training.balancing import Balancing
from transfuse.training.options import Fit
from transfuse.transferring.methods.probe import solved
from transfuse.transferring.sharing.fits import for_all, for_task
from transfuse.transferring.sharing.groups import Recipe
from transfuse.transferring.sharing.splitting import Sharing, learnt_together
from transfuse.tuning.moving import BatchNorm
from transfuse.tuning.outcome import HeadShape, Outcome
from transfuse.tuning.starting import probed


def shared(
    source: Source,
    task: Sequence[Task],
    *,
    run: Run = Run(),
    fit: Fit = Fit(),
    head: HeadShape = HeadShape(),
    balancing: Balancing = "equal",
    trunk: Literal["tuned", "frozen"] = "tuned",
    layer_decay: float = 0.8,
    batch_norm: BatchNorm = "frozen",
    compare: bool = True,
) -> Sharing:
    """Several tasks at once.

    `balancing` says how their losses become one: `equal` (the sum), `uncertainty` or `gradnorm`. A step shows
    `batch_size` examples of each task. `trunk="frozen"` only solves the heads, in closed form, on features that are
    extracted once. `compare` trains each task alone as well, for as many steps, and splits off tasks that are proven
    worse together.
    """
    if trunk == "frozen":
        return _on_frozen(source, task, fit, head, run)
    recipe = Recipe(
        source=source,
        fit=for_all(fit, task),
        head=head,
        balancing=balancing,
        layer_decay=layer_decay,
        batch_norm=batch_norm,
    )
    return learnt_together(task, recipe, run, compare=compare)


def _on_frozen(source: Source, tasks: Sequence[Task], fit: Fit, head: HeadShape, run: Run) -> Sharing:
    """Heads of their own on one trunk that nobody changes: each is the head that its task would have alone."""
    if head.kind != "linear":
        raise UsageError(f"`head` must be 'linear' on a frozen trunk, but is '{head.kind}'. Leave `trunk` out.")
    opened = open_source(source, seed=fit.seed)
    outcomes: dict[str, Outcome] = {}
    for task in tasks:
        found = probed(opened, task, fit=for_task(fit, task), run=run, depths="final", solver="auto")
        outcomes[task.name] = solved(found, task)
    return Sharing(outcomes=outcomes, together=outcomes)
