"""The part of `fit` that needs no gradient: which sources, each one's probe, and several of them together."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import transfuse
from transfuse.core.errors import BudgetError
from transfuse.core.nouns import Model, Source, Step, Task
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.fitting.candidates import Candidate, made, measured
from transfuse.fitting.choosing import best
from transfuse.fitting.progress import Progress
from transfuse.ranking.rank import rank
from transfuse.sources.texts.words import counts_words
from transfuse.training.options import Fit
from transfuse.transferring.fused_probe import Joined, fused_probe, joined
from transfuse.tuning.outcome import Outcome
from transfuse.tuning.recording import as_model, described

_PROBED = 4
"""Sources whose every example is extracted; more are ranked on parts of the examples first."""


def shortlisted(found: Sequence[Source], task: Task, run: Run, progress: Progress, *, seed: int) -> list[Source]:
    """At most `_PROBED` sources, the first of the ranking when there are more; before them the words themselves."""
    words = [source for source in found if counts_words(source)]
    found = [source for source in found if not counts_words(source)]
    if len(found) <= _PROBED:
        return [*words, *found]
    report = rank(task, found, seed=seed, run=run)
    progress.warnings += report.warnings
    names = list(dict.fromkeys(row["source"] for row in report.rows))
    by_name = {source.name: source for source in found}
    kept = [by_name[name] for name in names if name in by_name][:_PROBED]
    progress.decide(
        f"Which of {len(found)} sources are worth a whole look?",
        report.summary[0] if report.summary else "",
        f"{', '.join(source.name for source in kept)}: the first of the ranking.",
    )
    return [*words, *kept]


def probed(found: Sequence[Source], task: Task, run: Run, options: Mapping[str, Any], progress: Progress) -> None:
    """A probe of each source, as far as the time goes. Raises `BudgetError` when there is none at all."""
    for place, source in enumerate(found):
        run.watch({"stage": "probing", "done": place, "total": len(found), "text": source.name})
        if progress.candidates and run.remaining() < 2 * max(c.seconds for c in progress.candidates):
            progress.warn(
                "budget", f"The budget did not allow to probe {', '.join(source.name for source in found[place:])}."
            )
            break
        progress.candidates.append(made(source, task, "probe", run=run, options=dict(options)))
    if not progress.candidates:
        raise BudgetError("No source could be probed in the time given. Give a longer `budget`.")
    scores = ", ".join(f"{c.source.name} {c.score[0]:.4f}" for c in progress.by("probe"))
    progress.decide(
        "Which frozen source knows most?", f"{scores} (validation).", f"{best(progress.candidates).source.name}."
    )


def fuse(task: Task, run: Run, options: Mapping[str, Any], progress: Progress) -> None:
    """The probe of several sources side by side, when joining them raises what is right out of fold."""
    probes = progress.by("probe")
    if len(probes) < 2 or task.modality not in ("image", "sound"):  # texts of two sources are cut into other tokens
        return
    fit = _fit(options)
    found = joined([probe.source for probe in probes], task, fit=fit, run=run)
    kept = paying(found)
    evidence = bought(found)
    if len(kept.probes) < 2:
        progress.decide("Do several sources together know more?", f"Out of fold: {evidence}.", "No: one is enough.")
        return
    progress.decide("Do several sources together know more?", f"Out of fold: {evidence}.", " + ".join(kept.probes))
    by_name = {probe.source.name: probe.source for probe in probes}
    model, outcome = _fused(kept, [by_name[name] for name in kept.probes], task, fit, run)
    candidate = measured(
        model,
        probes[0].source,
        task,
        method="fused_probe",
        options=options,
        out_of_fold_NC=outcome.out_of_fold_NC,
    )
    progress.candidates.append(replace(candidate, parts=tuple(by_name[name] for name in kept.probes)))


def bought(found: Joined) -> str:
    """What each that joined bought out of fold, with intervals, in words."""
    return "; ".join(
        f"{gain.block} {'alone' if place == 0 else 'added'}: {gain.metric} {gain.score['value']:.4f}"
        + (f" ({gain.gain['value']:+.4f}, {gain.gain['low']:+.4f} to {gain.gain['high']:+.4f})" if place else "")
        for place, gain in enumerate(found.gains)
    )


def fused_again(candidate: Candidate, task: Task, run: Run) -> Model:
    """The same sources side by side on another task's examples."""
    fit = _fit(candidate.options)
    found = joined(candidate.parts, task, fit=fit, run=run, every=True)
    return _fused(found, candidate.parts, task, fit, run)[0]


def _fit(options: Mapping[str, Any]) -> Fit:
    return Fit(**{name: options[name] for name in ("seed", "class_weights") if name in options})


def _fused(found: Joined, sources: Sequence[Source], task: Task, fit: Fit, run: Run) -> tuple[Model, Outcome]:
    started = time.monotonic()
    outcome = fused_probe(found, task, fit=fit, run=run)
    step = Step(
        verb="fuse",
        method="fused_probe",
        options={"fit": plain(fit), "found": plain(outcome.facts)},
        inputs=(*(described(source) for source in sources), described(task)),
        digests={"task": task.digest},
        seconds=round(time.monotonic() - started, 3),
        version=transfuse.__version__,
    )
    return as_model(outcome, task, step, f"fused probe of {' + '.join(found.probes)}"), outcome


def paying(found: Joined) -> Joined:
    """Without the last sources that bought nothing: evidence let them in, but no more answers are right."""
    paid = [place for place, gain in enumerate(found.gains) if place == 0 or gain.gain["value"] > 0]
    count = max(paid, default=-1) + 1
    names = list(found.probes)[:count]
    return replace(found, probes={name: found.probes[name] for name in names}, gains=found.gains[:count])


def leading(progress: Progress) -> Candidate:
    """The best probe of a single source."""
    return best(progress.by("probe"))


def pretrained(progress: Progress) -> list[Candidate]:
    """Probes of sources that have weights to train, best validation first."""
    return [probe for probe in progress.by("probe") if probe.transferred]
