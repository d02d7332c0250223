"""update: more labelled pictures into a probe, without the earlier ones.

The new head is the one that a probe of the earlier and the new examples together gives with the strength, metric and
temperature of the first one, since the sums over examples that determine it add: see `probing/learnt.py`.
"""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transfuse.core.errors import DataError
from transfuse.core.nouns import DataWarning, Examples, Model
from transfuse.core.runs import Run
from transfuse.measuring.intervals import interval
from transfuse.measuring.metrics import PRIMARY
from transfuse.predicting.predict import activated
from transfuse.probing.learnt import Learnt, more
from transfuse.tasks.opening import open_split
from transfuse.training.losses import spread_over
from transfuse.transferring.relearning import changed, features_of, probe_of, relearning_report, relearnt, step_of


def update(
    model: Model | str | Path,
    data: Any,
    *,
    split: str = "train",
    as_ridge: bool = False,
    trust_code: bool = False,
    run: Run = Run(),
    command: str = "",
) -> Model:
    """The probe with more examples in it: no pass over the earlier ones, equal to a fit to all of them.

    Equal at the same strength, metric (what a feature counts in the penalty), temperature and class weights, which
    are those of the first fit. Examples that it has learnt already are left out, and named.

    Args:
        model: A probe or the folder of one.
        data: A Task, or whatever one can be opened from, with the model's classes.
        split: What is learnt where the data have splits of their own.
        as_ridge: Let a logistic head, which sums do not determine, become the ridge head on the same features.
        trust_code: Open a model that was built by the user's own function.
        run: Watcher.
        command: What repeats this, for the report.

    Raises:
        ModelError: The model does not know what its head was made of.
        UsageError: The head is logistic.
        DataError: Unknown classes, or nothing new.
    """
    started = time.monotonic()
    before, learnt = probe_of(model, as_ridge=as_ridge, trust_code=trust_code)
    found, warnings = open_split(
        data, modality=before.modality, classes=before.classes, kind=before.kind, split=split, run=run
    )
    examples, left_out = _new(found, learnt)
    x_ND = features_of(before, examples, learnt.precision, run)
    after = more(learnt, x_ND, examples.targets, _weights(examples, learnt), examples.digests)
    facts = {"examples": len(examples), "learnt": len(after.digests), "split": split, "as_ridge": as_ridge}
    result = relearnt(before, after, step_of("update", before, time.monotonic() - started, facts))
    report = relearning_report(
        result,
        f"{before.name}, updated",
        (
            {"head": "before", "learnt": len(learnt.digests), **_on_new(before, examples, x_ND)},
            {"head": "after", "learnt": len(after.digests)},
        ),
        (
            f"{len(examples)} examples were added. The head is that of a fit to all {len(after.digests)} at the"
            f" strength {learnt.strength:g}, the metric and the temperature of the first one.",
            changed(before, result),
            "The new examples were new to the head before, not to the one after. Measure that one with `evaluate`.",
        ),
        warnings=(*warnings, *left_out),
        command=command,
    )
    return replace(result, report=report)


def _new(examples: Examples, learnt: Learnt) -> tuple[Examples, tuple[DataWarning, ...]]:
    """The examples that were not learnt yet, and a warning that names the others."""
    known = set(learnt.digests)
    places = [place for place, digest in enumerate(examples.digests) if digest not in known]
    if not places:
        raise DataError(f"There must be an example that is new, but all {len(examples)} were learnt already.")
    again = sorted(set(range(len(examples))) - set(places))
    if not again:
        return examples, ()
    warning = DataWarning(
        code="already-learnt",
        message=f"{len(again)} of {len(examples)} examples were learnt already and are left out.",
        places=tuple(examples.names[place] for place in again),
    )
    return taken(examples, places), (warning,)


def taken(examples: Examples, places: list[int]) -> Examples:
    """Some of the examples."""
    return Examples(
        items=[examples.items[place] for place in places],
        targets=examples.targets[places],
        digests=tuple(examples.digests[place] for place in places),
        names=tuple(examples.names[place] for place in places),
        weights=None if examples.weights is None else examples.weights[places],
        groups=None if examples.groups is None else tuple(examples.groups[place] for place in places),
    )


def _weights(examples: Examples, learnt: Learnt) -> np.ndarray:
    """What each counts beside the learnt ones: its weight times the factor of its class, in their unit."""
    given_N = np.ones(len(examples)) if examples.weights is None else examples.weights.astype(float)
    return (given_N * spread_over(examples.targets, learnt.factors_C) / learnt.unit).astype(np.float32)


def _on_new(model: Model, examples: Examples, x_ND: np.ndarray) -> dict[str, Any]:
    """How the head did on examples that it had not seen."""
    with torch.inference_mode():
        raw_NC = model.network.get_submodule("head")(torch.from_numpy(x_ND)).numpy()
    outputs_NC = activated(raw_NC, model.kind, temperature=model.temperature, target_scale=model.target_scale)
    name = PRIMARY[model.kind]
    return {f"{name} on the new": interval(model.kind, name, examples.targets, outputs_NC, groups=examples.groups)}
