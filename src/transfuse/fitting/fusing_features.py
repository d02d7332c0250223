"""The verb that fuses what several frozen sources see, with proof: `transfuse fuse A B --features KIND --on DATA`.

Sources see the same pictures or sounds, or each the columns of a table that it can take. A fusion is kept only when it
beats the best of its parts alone out of fold, with its interval; otherwise that part is what is given, and the report
says by how much the fusion lost. The test split is read once, for all of them.
"""

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import transfuse
from transfuse.core.errors import UsageError
from transfuse.core.nouns import Model, Source, Step, Task
from transfuse.core.runs import Run
from transfuse.core.tables import chosen
from transfuse.fitting import fusing, mixed
from transfuse.fitting.candidates import Candidate
from transfuse.fitting.fusing import Fused
from transfuse.fitting.progress import Progress
from transfuse.fitting.report import evidence
from transfuse.sources.references import find, told_apart
from transfuse.sources.sounds import suiting as sound_sources
from transfuse.tasks.opening import open_task, require_modality
from transfuse.training.options import Fit
from transfuse.transferring.feature_fusions import FUSIONS
from transfuse.transferring.fused_probe import Joined, joined
from transfuse.transferring.mixed_probe import joined_columns
from transfuse.tuning.recording import described


def fuse_features(
    sources: Sequence[Source | str],
    data: Any,
    *,
    kind: str = "product",
    name: str | None = None,
    seed: int = 0,
    trust_code: bool = False,
    run: Run = Run(),
    command: str = "",
) -> Model:
    """One model of the features of several sources, or the best of them alone if the fusion is not proven better.

    Args:
        sources: Two or more for pictures or sounds; for a table one for each kind of file, or one of pictures for both.
        data: A Task, or whatever one can be opened from.
        kind: `concat`, `product`, `add`, `gated` or `attention`, or `all` to try each.
        name: Name of the model.
        seed: Of folds and trainings.
        trust_code: Allow sources that are built by the user's own function.
        run: Deadline and watcher.
        command: What repeats this, for the report.

    Raises:
        UnknownName, UsageError, DataError, SourceError: See their docstrings.
    """
    started = time.monotonic()
    kinds = tuple(FUSIONS) if chosen("fusion of features", kind, ("all", *FUSIONS)) == "all" else (kind,)
    task = open_task(data, seed=seed, run=run)
    found = list(told_apart(s if isinstance(s, Source) else find(s, trust_code=trust_code) for s in sources))
    progress, fit = Progress(), Fit(seed=seed)
    every, parts = _joined(found, task, fit, run, progress)
    fusing.warn_of_groups(every, progress)
    alone = [
        _fused(Joined(probes={n: p}, gains=(), rejected={}), "fused_probe", parts, task, fit, run)
        for n, p in every.probes.items()
    ]
    methods = ["fused_probe" if one == "concat" else one for one in kinds]
    made = [_fused(every, method, parts, task, fit, run) for method in methods]
    best = min(alone, key=lambda one: one.loss)
    taken = _accepted(fusing.decide(made, best, task, progress), best, progress)
    candidates = {one.model.name: _candidate(one, parts, task, every.parted is not None) for one in (*alone, *made)}
    progress.candidates += candidates.values()
    return _proven(candidates[taken.model.name], progress, task, (found, kind, name, seed, started), run, command)


def _joined(
    found: Sequence[Source], task: Task, fit: Fit, run: Run, progress: Progress
) -> tuple[Joined, dict[str, Source]]:
    """Probes of all parts, and the source of each by its name."""
    if task.modality == "table":
        seen = mixed.seen_columns(found, task, progress)
        every = joined_columns(seen, task, fit=fit, run=run, every=True)
        parts = {f"{one.column} by {one.source.name}": one.source for one in seen}
    else:
        if task.modality == "text":
            raise UsageError("Texts of two sources are cut into other tokens, so their features cannot be fused yet.")
        heard = [sound_sources.suited(source, task) for source in found]
        for source in heard:
            require_modality(task, source.modality)
        every = joined(heard, task, fit=fit, run=run, every=True)
        parts = {source.name: source for source in heard}
    if len(every.probes) < 2:
        raise UsageError(
            f"There must be at least two parts to fuse, but there is {', '.join(every.probes) or 'none'}. Name another"
            " source, or give a table with columns of several kinds."
        )
    return every, parts


def _fused(found: Joined, method: str, parts: dict[str, Source], task: Task, fit: Fit, run: Run) -> Fused:
    used = {source.digest: source for name, source in parts.items() if name in found.probes}
    columns = {name.removeprefix("words of ").partition(" by ")[0] for name in parts}
    several = task.modality != "table" or len(columns) < len(parts)  # then a column's name would not say which source
    of = " + ".join(found.probes) if several else mixed.columns_in(found)
    return fusing.fused(found, method, list(used.values()), task, fit=fit, run=run, of=of)


def _accepted(better: Sequence[Fused], alone: Fused, progress: Progress) -> Fused:
    """The fusion of the lowest loss among those that are proven better than the best part alone; else that part."""
    if better:
        best = min(better, key=lambda one: one.loss)
        progress.notes.append(f"The fusion is kept: {best.model.name}.")
        return best
    progress.notes.append(f"The fusion is refused: what is given is the best of its parts, {alone.model.name}.")
    return alone


def _candidate(one: Fused, parts: dict[str, Source], task: Task, groups: bool) -> Candidate:
    sources = [parts[name] for name in one.outcome.facts["sources"] if name in parts] or list(parts.values())
    found = fusing.as_candidate(one, sources, task, {}, groups=groups)
    single = len(one.outcome.facts["sources"]) == 1
    return replace(found, method="probe") if single else found


def _proven(
    taken: Candidate,
    progress: Progress,
    task: Task,
    said: tuple[Sequence[Source], str, str | None, int, float],
    run: Run,
    command: str,
) -> Model:
    """The model with its record and its report."""
    found, kind, name, seed, started = said
    step = Step(
        verb="fuse",
        method=taken.method,
        options={"features": kind, "seed": seed},
        inputs=(taken.model.provenance, *(described(source) for source in found)),
        digests={"task": task.digest},
        seconds=round(time.monotonic() - started, 3),
        version=transfuse.__version__,
    )
    model = replace(taken.model, name=name or f"{task.name} ({taken.name})", provenance=step)
    return replace(model, **evidence(model, taken, progress, task, command=command, budget=None, run=run))
