"""unchanged: the source as it is, for tasks of its own classes; only its confidence is fitted to the new data.

What `finetune` and `probe` must beat where the population has changed and the question has not (source-only in domain
adaptation). Relations: `probe` replaces the head, `finetune` moves all of it.
"""

from transfuse.core.errors import SourceError
from transfuse.core.nouns import Source, Task
from transfuse.core.runs import Run
from transfuse.predicting.predict import logits
from transfuse.probing.calibrating import temperature
from transfuse.sources.network import Network
from transfuse.sources.opening import open_source
from transfuse.training.options import Fit
from transfuse.tuning.answering import answers_the_same, source_scale
from transfuse.tuning.outcome import Outcome
from transfuse.tuning.targets import require_splits


def unchanged(source: Source, task: Task, *, run: Run = Run(), fit: Fit = Fit()) -> Outcome:
    """The source's own head on its own body, calibrated on the validation split; needs a Model of the same classes."""
    require_splits(task)
    opened = open_source(source, seed=fit.seed)
    if opened.source_head is None or not answers_the_same(source, task):
        raise SourceError(
            f"'{source.reference}' must be a saved Model with the task's kind and classes to be taken unchanged. Use"
            " 'probe' or 'finetune'."
        )
    network = Network(opened.body, opened.source_head).eval()
    warmth, valid = 1.0, task.splits["valid"]
    if task.kind != "regression":
        warmth = temperature(logits(network, valid.items, source.preprocessing), valid.targets, task.kind)
    return Outcome(
        network=network,
        builder=opened.source.builder,
        preprocessing=source.preprocessing,
        temperature=warmth,
        target_scale=source_scale(source),
        facts={"steps": 0},
        licence=source.licence,
    )
