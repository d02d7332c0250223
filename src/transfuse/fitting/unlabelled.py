"""What rows without labels are worth to `fit`: the network that learnt from them first, beside the one that did not."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Task
from transfuse.core.runs import Run
from transfuse.evaluating.assessing import Assessment
from transfuse.evaluating.compare import difference, in_words
from transfuse.fitting.candidates import Candidate
from transfuse.fitting.progress import Progress
from transfuse.fitting.trainings import attempt
from transfuse.sources.tables.references import unfitted
from transfuse.tasks.tables.unlabelled import unlabelled_rows


def require_unlabelled(unlabelled: str | Path | None, task: Task, *, network: bool = True) -> None:
    """Raise now what reading the rows would raise later, and `UsageError` where nothing could learn from them."""
    if unlabelled is None:
        return
    if task.modality != "table":
        raise UsageError(f"`unlabelled` must go with a table, but the data are of the modality '{task.modality}'.")
    if not network:
        raise UsageError("`unlabelled` must go with training a network: leave --no-finetune out.")
    unlabelled_rows(unlabelled, task)


def pretrained(unlabelled: str | Path, task: Task, run: Run, options: Mapping[str, Any], progress: Progress) -> None:
    """The network that learnt from the rows without labels first, and whether validation says that it helped."""
    wanted = {**options, "unlabelled": str(unlabelled)}
    made = attempt(unfitted("network"), task, "pretrained", run, run.remaining() * 0.8, wanted, progress)
    alone = next((c for c in progress.candidates if c.method == "scratch" and c.learnt_from == "target"), None)
    if made is None or alone is None:
        return
    gap = difference(made.validation, alone.validation, name=made.deciding)
    answer = "Yes." if gap["low"] > 0 else "No: they hurt." if gap["high"] < 0 else "Not proven."
    sentence = in_words(made.name, alone.name, made.deciding, gap)
    progress.decide("Do the rows without labels help?", f"{sentence} [validation]", answer)


def finding(everyone: Sequence[Candidate], assessments: Mapping[str, Assessment]) -> list[str]:
    """What the rows without labels bought, by the paired difference to the same network without them."""
    made = next((c for c in everyone if c.method == "pretrained"), None)
    alone = next((c for c in everyone if c.method == "scratch" and c.learnt_from == "target"), None)
    if made is None or alone is None:
        return []
    gap = difference(assessments[made.name], assessments[alone.name], name=made.deciding)
    rows = made.facts["pretraining"]["rows"]
    begin = f"The {rows} rows without labels helped." if gap["low"] > 0 else f"That {rows} rows without labels help is"
    begin += "" if gap["low"] > 0 else " disproven: they hurt." if gap["high"] < 0 else " not proven."
    return [f"{begin} {in_words(made.name, alone.name, made.deciding, gap)}"]
