"""rank: which of these sources to start from, judged on the user's own examples without training a network.

Features are extracted once and cached; a cross-validated ridge probe and nearest neighbours decide, rank-fused with a
prior where one is known. Many sources see few examples first. Validation and test examples are not looked at.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from transfuse.core.errors import DataError, NotCached, UsageError
from transfuse.core.nouns import DataWarning, Report, Source, Task
from transfuse.core.runs import Run
from transfuse.core.tables import chosen
from transfuse.ranking.halving import halved, left_out
from transfuse.ranking.priors import priors_of
from transfuse.ranking.report import report
from transfuse.ranking.scores import Cell, milliseconds, scores
from transfuse.ranking.subsets import least_examples, plan, subsets
from transfuse.sources.references import find, told_apart
from transfuse.sources.sounds import suiting as sound_sources
from transfuse.sources.suiting import suited
from transfuse.tasks.opening import open_task, require_modality

Depths = Literal["final", "several", "many"]
COUNTS = {"final": 1, "several": 4, "many": 12}
"""How many depths of each source are candidates, at most."""


def rank(
    data: Any,
    sources: Sequence[Source | str | Path],
    *,
    depths: Depths = "final",
    examples: int | None = None,
    priors: Mapping[str, float] | None = None,
    seed: int = 0,
    trust_code: bool = False,
    run: Run = Run(),
    command: str = "",
) -> Report:
    """The sources in the order in which to try them, with what separates the first from the others.

    Args:
        data: A Task, or whatever one can be opened from. Its training examples are used.
        sources: Sources or references.
        depths: `final`, or `several` or `many`: up to 4 or 12 depths of each source compete.
        examples: At most this many examples for each source; None for all training examples.
        priors: A figure for some sources, by reference or name, such as their accuracy on ImageNet; more is better.
            None takes them from the sources' cards.
        seed: Of splits, folds and subsets.
        trust_code: Allow sources that are built by the user's own function.
        run: Its deadline ends the ranking after the last round that is complete.
        command: What repeats this, for the report.

    Raises:
        UsageError: No source, or an option of another form; `UnknownName` for a prior of no source.
        DataError: Nothing to learn from, one class only, or nothing that can be held out.
        SourceError, WeightsError: No source can be opened.
        BudgetError: Not one source could be judged in time.
    """
    chosen("choice of depths", depths, COUNTS)
    if isinstance(sources, str | Path | Source) or not sources:
        raise UsageError("`sources` must be a list of at least one source to rank, such as ['timm:resnet18'].")
    if examples is not None and (not isinstance(examples, int) or isinstance(examples, bool) or examples < 2):
        raise UsageError(f"`examples` must be a whole number of at least 2, but is {examples!r}.")
    warnings: list[DataWarning] = []
    found = _found(sources, trust_code, warnings)
    known = priors_of(found, priors or {})
    task = data if isinstance(data, Task) else open_task(data, seed=seed, run=run)
    found = [sound_sources.suited(source, task) for source in found]
    for source in found:
        require_modality(task, source.modality)
    found = [suited(source, task) if task.modality == "text" else source for source in found]
    available = len(task.splits["train"]) if "train" in task.splits else 0
    if available < 2:
        raise DataError(f"Ranking needs at least 2 training examples, but '{task.name}' has {available}.")
    rounds = plan(min(available, examples or available), len(found), least_examples(task))
    parts = subsets(task, [part.examples for part in rounds], seed)
    history = halved(found, COUNTS[depths], parts, rounds, priors=known, seed=seed, run=run)
    subset, finalists = history.rounds[-1]
    further: dict[str, dict[str, Cell]] = {}
    for place, placed in enumerate(finalists):
        if run.remaining() <= 0:
            break
        run.watch({"stage": "scoring", "done": place, "total": len(finalists), "text": placed.look.name})
        columns = scores(placed.look, subset, seed=seed, run=run)
        further[placed.look.name] = {**columns, "ms_an_example": round(milliseconds(placed.look, run), 3)}
    return report(task, history, further, known, warnings=warnings, seed=seed, command=command)


def _found(sources: Sequence[Source | str | Path], trust_code: bool, warnings: list[DataWarning]) -> list[Source]:
    """The sources that can be had, told apart by name; one that cannot is a warning as long as another can."""
    found, problems = [], []
    for reference in sources:
        try:
            found.append(find(reference, trust_code=trust_code))
        except NotCached as error:
            problems.append(error)
            warnings.append(left_out(reference, error))
    if not found:
        raise problems[0]
    return told_apart(found)
