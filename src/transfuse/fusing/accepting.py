"""The proof: a fusion is kept only when it beats its best parent on held-out examples, with its interval.

In an independent study of merging in the wild most methods lost to their parents (arXiv 2511.21437), so a result that
was not measured is a guess. The validation split decides; the test split, when there is one, is read once, for what was
kept and for what it was compared with.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from transfuse.core.nouns import Model, Report, Section, Task
from transfuse.core.runs import Run
from transfuse.evaluating.assessing import Assessment, assess, plain_row, split_of
from transfuse.evaluating.compare import capitalised, difference, in_words
from transfuse.fusing.statistics.batches import with_batch_statistics
from transfuse.measuring.metrics import PRIMARY


@dataclass(frozen=True, kw_only=True)
class Proof:
    """Whether a fusion beats the best of what it was made of."""

    best: str
    kept: bool
    rows: tuple[Mapping[str, Any], ...]
    sentences: tuple[str, ...]
    metrics: Mapping[str, Any]
    """Of what is kept, on the split that was read last."""


def proof(
    judged: Mapping[str, Assessment],
    tested_with: Callable[[str], Mapping[str, Assessment]],
    *,
    rival: str,
    judge: str = "validation split",
) -> Proof:
    """`judged`: the `fusion` and its rivals; `tested_with`: from the best rival's name to both on the test split."""
    best = best_of(judged)
    splits = {"valid": judged, "test": tested_with(best)}
    gaps = {split: difference(found["fusion"], found[best]) for split, found in splits.items() if found}
    kept, named = gaps["valid"]["low"] > 0, ("the fusion", f"its best {rival} '{best}'", PRIMARY[judged[best].kind])
    verdict = "The fusion is kept." if kept else f"The fusion is refused: what is saved is its best {rival}, '{best}'."
    where = {"valid": judge, "test": "test split"}
    last = "test" if "test" in gaps else "valid"
    return Proof(
        best=best,
        kept=kept,
        rows=tuple(plain_row(name, one, split=split) for split, found in splits.items() for name, one in found.items()),
        sentences=(verdict, *(f"{capitalised(in_words(*named, gap))} [{where[split]}]" for split, gap in gaps.items())),
        metrics={last: splits[last]["fusion" if kept else best].all_measured()},
    )


def accepted(
    model: Model, parents: Mapping[str, Model], task: Task, report: Report, *, anew: bool, run: Run
) -> tuple[Model, Report, bool, int]:
    """What is kept, the report with the proof, whether that is the fusion, and on how many examples batch statistics
    were estimated anew (`anew`). Raises `UsageError` for a task of other classes."""
    split_of(task, "valid", model)
    seen = with_batch_statistics(model, task) if anew else 0
    models = {"fusion": model, **parents}

    def on(split: str, names: Iterable[str]) -> dict[str, Assessment]:
        return {name: assess(models[name], task.splits[split], run=run) for name in names if split in task.splits}

    found = proof(on("valid", models), lambda best: on("test", ("fusion", best)), rival="parent")
    told = replace(
        report,
        columns=tuple(found.rows[0]),
        rows=found.rows,
        summary=(*found.sentences, *_anew(seen), *report.summary),
        sections=(_fates(report), *report.sections),
        warnings=(*report.warnings, *task.warnings),
    )
    return replace(models["fusion" if found.kept else found.best], metrics=found.metrics), told, found.kept, seen


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


def _fates(report: Report) -> Section:
    content = {"columns": list(report.columns), "rows": [dict(row) for row in report.rows]}
    return Section(kind="table", title="What became of the tensors", content=content)
