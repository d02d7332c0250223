"""The proof: a fusion is kept only when it beats its best parent on held-out examples, with its interval.

In an independent study of merging in the wild most methods lost to their parents (arXiv 2511.21437), so a result that
was not measured is a guess. The validation split decides; the test split, when there is one, is read once, for what was
kept and for what it was compared with.
"""

from collections.abc import Mapping
from dataclasses import replace

from transfuse.core.nouns import Model, Report, Section, Task
from transfuse.core.runs import Run
from transfuse.evaluating.assessing import Assessment, assess, plain_row, split_of
from transfuse.evaluating.compare import capitalised, difference, in_words
from transfuse.fusing.models import with_statistics
from transfuse.measuring.metrics import PRIMARY


def accepted(
    model: Model, parents: Mapping[str, Model], task: Task, report: Report, *, anew: bool, run: Run
) -> tuple[Model, Report, bool, int]:
    """What is kept, the report with the proof, whether that is the fusion, and on how many examples batch statistics
    were estimated anew (`anew`). Raises `UsageError` for a task of other classes."""
    split_of(task, "valid", model)
    seen = with_statistics(model, task) if anew else 0
    judged = {name: assess(one, task.splits["valid"], run=run) for name, one in (("fusion", model), *parents.items())}
    best = best_of(judged)
    gap = difference(judged["fusion"], judged[best])
    kept = gap["low"] > 0
    named = ("the fusion", f"its best parent '{best}'", PRIMARY[model.kind])
    sentence = capitalised(in_words(*named, gap)) + " [validation split]"
    verdict = "The fusion is kept." if kept else f"The fusion is refused: what is saved is its best parent, '{best}'."
    chosen = model if kept else parents[best]
    rows = [plain_row(name, found, split="valid") for name, found in judged.items()]
    tested = _tested(task, {"fusion": model, best: parents[best]}, run)
    rows += [plain_row(name, found, split="test") for name, found in tested.items()]
    told_of_test = (
        [capitalised(in_words(*named, difference(tested["fusion"], tested[best]))) + " [test split]"] if tested else []
    )
    measured = (tested or judged)["fusion" if kept else best]
    told = replace(
        report,
        columns=tuple(rows[0]),
        rows=tuple(rows),
        summary=(verdict, sentence, *told_of_test, *_anew(seen), *report.summary),
        sections=(_fates(report), *report.sections),
        warnings=(*report.warnings, *task.warnings),
    )
    metrics = {"test" if "test" in task.splits else "valid": measured.all_measured()}
    return replace(chosen, metrics=metrics), told, kept, seen


def best_of(judged: Mapping[str, Assessment]) -> str:
    """The parent that is best on the examples; by paired differences, so that smaller may be better."""
    names = [name for name in judged if name != "fusion"]
    best = names[0]
    for name in names[1:]:
        if difference(judged[name], judged[best])["value"] > 0:
            best = name
    return best


def _anew(seen: int) -> list[str]:
    return [f"The statistics of batch normalisation were estimated anew on {seen} training examples."] if seen else []


def _tested(task: Task, models: Mapping[str, Model], run: Run) -> dict[str, Assessment]:
    if "test" not in task.splits:
        return {}
    return {name: assess(one, task.splits["test"], run=run) for name, one in models.items()}


def _fates(report: Report) -> Section:
    content = {"columns": list(report.columns), "rows": [dict(row) for row in report.rows]}
    return Section(kind="table", title="What became of the tensors", content=content)
