"""The chosen model once more, on training and validation examples together."""

import copy
import time
from dataclasses import replace

import transfuse
from transfuse.core.digests import of_many
from transfuse.core.nouns import Step, Task
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.evaluating.assessing import assess
from transfuse.fitting import mixed
from transfuse.fitting.candidates import Candidate, made
from transfuse.fitting.fusing import METHODS
from transfuse.fitting.probes import fused_again
from transfuse.fitting.progress import Progress
from transfuse.tasks.joining import concatenated
from transfuse.transferring.continuing import continued
from transfuse.transferring.methods.trees import regrown
from transfuse.transferring.options import arranged
from transfuse.tuning.recording import as_model, described


def refitted(chosen: Candidate, task: Task, run: Run, progress: Progress) -> Candidate:
    """The model learns from all labelled examples but the test split: a probe and trees anew, a network by training on.

    Nothing is left to validate on, so the temperature is that of the first training; of a source that is taken
    unchanged it is the temperature that is fitted to all of them.
    """
    if chosen.learnt_from != "target":
        progress.warn("not-refitted", f"{chosen.name} learnt from other examples too, so it is not refitted.")
        return chosen
    ways = {"probe": _probed, "trees": _grown, "unchanged": _calibrated, **dict.fromkeys(METHODS, _fused)}
    again = ways.get(chosen.method, _trained_on)
    return replace(again(chosen, merged(task), run.part("refit")), name=f"{chosen.name}, refitted")


def merged(task: Task) -> Task:
    """The task with its validation examples in the training split as well."""
    train, valid = task.splits["train"], task.splits["valid"]
    together = concatenated(train, valid)
    return replace(task, splits={**task.splits, "train": together}, digest=of_many([task.digest, "merged"]))


def _probed(chosen: Candidate, task: Task, run: Run) -> Candidate:
    again = made(chosen.source, task, "probe", run=run, options=dict(chosen.options))
    model = replace(again.model, temperature=chosen.model.temperature)
    return replace(again, model=model, validation=chosen.validation)


def _grown(chosen: Candidate, task: Task, run: Run) -> Candidate:
    """As many trees, of as many leaves, on the source's answers if they were: what early stopping found."""
    started = time.monotonic()
    own = arranged("trees", chosen.options)[1]
    outcome = regrown(chosen.source, task, found=chosen.facts, run=run, **own)
    step = Step(
        verb="transfer",
        method="regrown",
        options={**plain(own), "found": plain(outcome.facts)},
        inputs=(chosen.model.provenance, described(task)),
        digests={"task": task.digest},
        seconds=round(time.monotonic() - started, 3),
        version=transfuse.__version__,
    )
    model = as_model(outcome, task, step, chosen.model.name)
    return replace(chosen, model=replace(model, temperature=chosen.model.temperature))


def _calibrated(chosen: Candidate, task: Task, run: Run) -> Candidate:
    """The source knows neither split: all of their rows say how sure it may be."""
    every = replace(task, splits={**task.splits, "valid": task.splits["train"]})
    again = made(chosen.source, every, "unchanged", run=run, options=dict(chosen.options))
    return replace(chosen, model=again.model, validation=assess(again.model, task.splits["valid"]))


def _fused(chosen: Candidate, task: Task, run: Run) -> Candidate:
    again = mixed.fused_again if chosen.model.modality == "table" else fused_again
    model = again(chosen, task, run)
    return replace(chosen, model=replace(model, temperature=chosen.model.temperature))


def _trained_on(chosen: Candidate, task: Task, run: Run) -> Candidate:
    started = time.monotonic()
    facts = chosen.facts
    method = chosen.method if chosen.method in ("scratch", "pretrained") else "finetune"
    own = arranged(method, {**chosen.options, "steps": facts["steps"], "rate": facts["rate"]})[1]
    decay = own.get("layer_decay", 0.8) if method == "finetune" else 1.0
    network = copy.deepcopy(chosen.model.network).requires_grad_(True)
    source = replace(chosen.source, preprocessing=chosen.model.preprocessing)  # rows without labels may have widened it
    found = continued(network, source, task, fit=own["fit"], layer_decay=decay, run=run)
    step = Step(
        verb="transfer",
        method="continued",
        options={**plain(own), "found": plain(found)},
        inputs=(chosen.model.provenance, described(task)),
        digests={"task": task.digest},
        seconds=round(time.monotonic() - started, 3),
        version=transfuse.__version__,
    )
    model = replace(chosen.model, network=network.requires_grad_(False).eval().cpu(), provenance=step)
    return replace(chosen, model=model)
