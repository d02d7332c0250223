"""What `fit` has in hand: models that were made, with what they know of the validation split."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transfuse.core.digests import of_value
from transfuse.core.errors import ModelError, WeightsError
from transfuse.core.nouns import Model, Source, Task
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.evaluating.assessing import Assessment, assess
from transfuse.measuring.metrics import PRIMARY
from transfuse.predicting.folder import load, save
from transfuse.sources.inputs import identity as identity_of
from transfuse.sources.suiting import suited
from transfuse.sources.texts.words import counts_words
from transfuse.transferring.transfer import carried_out
from transfuse.tuning.outcome import Outcome
from transfuse.tuning.targets import scored
from transfuse.weights.files import read_whole, write_tensors


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A model that might be given to the user."""

    name: str
    source: Source
    method: str
    model: Model
    curves: tuple[Mapping[str, float], ...]
    """History of validations."""
    interrupted: bool
    options: Mapping[str, Any]
    """As its method was given them."""
    validation: Assessment
    seconds_an_example: float
    """What one answer takes, measured on the validation split."""
    out_of_fold: Assessment | None = None
    """Of a frozen source: its answers on the training split, by heads that were fitted without the example."""
    parts: tuple[Source, ...] = ()
    """The sources of a model that has several."""
    learnt_from: str = "target"
    """`both` when examples of a source population were learnt from beside the task's, `source` when those alone."""

    @property
    def facts(self) -> Mapping[str, Any]:
        """What its method found: steps, rate, ..."""
        return self.model.provenance.options["found"]

    @property
    def balanced(self) -> bool:
        """Choose by balanced accuracy, because classes are weighted."""
        return bool(self.options.get("class_weights", "equal") != "equal")

    @property
    def deciding(self) -> str:
        """Name of the metric that decides."""
        kind = self.validation.kind
        if kind == "single-label" and self.model.modality == "table" and not self.balanced:
            return "log_loss"  # says far more than accuracy where validation rows are few, as tables' mostly are
        return "balanced_accuracy" if self.balanced and kind == "single-label" else PRIMARY[kind]

    @property
    def score(self) -> tuple[float, float]:
        """(score, minus loss) on the validation split: higher is better."""
        found = self.validation
        metrics = scored(found.kind, found.targets, found.outputs_NC, balanced=self.balanced)
        return (-metrics["loss"] if self.deciding == "log_loss" else metrics["score"]), -metrics["loss"]

    @property
    def transferred(self) -> bool:
        """Whether it knows more than the task's own examples: not from scratch, nor by counting their words."""
        return self.method != "scratch" and not counts_words(self.source)

    @property
    def seconds(self) -> float:
        """What making it took."""
        return self.model.provenance.seconds


def made(
    source: Source, task: Task, method: str, *, run: Run, options: dict[str, Any], label: str | None = None
) -> Candidate:
    """Carry out a method and measure the result on the validation split.

    With checkpoints, a candidate that a killed run had finished is taken up from there.
    """
    source = suited(source, task)
    name = f"{label or method} of {source.name}"
    identity = of_value([source.digest, identity_of(source.preprocessing), task.digest, method, plain(options)])
    run = run.part(f"{method}-{identity[:12]}")
    kept = run.checkpoints / "made" if run.checkpoints else None
    found = _kept(kept) if kept else None
    if found:
        (model, curves, out_of_fold_NC), interrupted = found, False
    else:
        model, outcome = carried_out(source, task, method=method, name=name, run=run, options=options)
        curves, interrupted, out_of_fold_NC = outcome.curves, outcome.interrupted, outcome.out_of_fold_NC
        if kept and not interrupted:
            _keep(model, outcome, kept)
    return measured(
        model,
        source,
        task,
        method=method,
        curves=curves,
        interrupted=interrupted,
        options=options,
        out_of_fold_NC=out_of_fold_NC,
    )


def measured(
    model: Model,
    source: Source,
    task: Task,
    *,
    method: str,
    options: Mapping[str, Any],
    curves: tuple[Mapping[str, float], ...] = (),
    interrupted: bool = False,
    out_of_fold_NC: np.ndarray | None = None,
) -> Candidate:
    """A model as a candidate: its answers on the validation split, and how long they took."""
    started = time.monotonic()
    validation = assess(model, task.splits["valid"])
    train, held = task.splits["train"], None
    if out_of_fold_NC is not None:
        held = replace(validation, examples=train, outputs_NC=out_of_fold_NC)
    return Candidate(
        name=model.name,
        source=source,
        method=method,
        model=model,
        curves=curves,
        interrupted=interrupted,
        options=options,
        validation=validation,
        out_of_fold=held,
        seconds_an_example=(time.monotonic() - started) / len(validation.examples),
    )


def _keep(model: Model, outcome: Outcome, folder: Path) -> None:
    held_NC = np.empty((0, 0)) if outcome.out_of_fold_NC is None else outcome.out_of_fold_NC
    tensors = {"out_of_fold_NC": torch.from_numpy(np.ascontiguousarray(held_NC))}
    write_tensors(_beside(folder), tensors, {"curves": json.dumps(plain(outcome.curves))})
    save(replace(model, report=None), folder)


def _kept(folder: Path) -> tuple[Model, tuple[Mapping[str, float], ...], np.ndarray | None] | None:
    """Model, curves and out-of-fold answers of a candidate that a killed run finished; None when it is made again."""
    if not folder.exists():
        return None
    try:
        arrays, texts = read_whole(_beside(folder))
        model = load(folder, trust_code=True)  # the source was trusted then
    except (WeightsError, ModelError):  # the disk lost a bit of it
        return None
    held_NC = arrays["out_of_fold_NC"].numpy()
    return model, tuple(json.loads(texts["curves"])), held_NC if held_NC.size else None


def _beside(folder: Path) -> Path:
    return folder.with_name("found.safetensors")
