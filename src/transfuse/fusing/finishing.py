"""Merged tensors as a saved Model, or, where examples say so, its best parent instead."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from transfuse.core import atomic, sums
from transfuse.core.nouns import Report
from transfuse.core.runs import Run
from transfuse.fusing import record
from transfuse.fusing.accepting import accepted
from transfuse.fusing.alignment.aligning import Alignment
from transfuse.fusing.alignment.parents import mend, recorded
from transfuse.fusing.coefficients.tuning import Tuned
from transfuse.fusing.engine import writing
from transfuse.fusing.models import as_model
from transfuse.fusing.recipes import Recipe
from transfuse.predicting.folder import load
from transfuse.weights.headers import read_header
from transfuse.weights.pieces import digests_of


def as_saved(
    recipe: Recipe,
    models: Sequence[str],
    report: Report,
    written: Mapping[str, Any],
    work: Path,
    *,
    found: Tuned | None,
    alignment: Alignment | None,
    seconds: float,
    trust_code: bool,
    run: Run,
) -> Report:
    """Save the Model in `work/saved`. `models` are the parents' paths; `found` is the task to judge by, if any."""
    model, parents = as_model(recipe, work / "result" / writing.SINGLE, models, seconds=seconds, trust_code=trust_code)
    kept = True
    if alignment is not None:
        stored = {"parents": record.as_stored(written["parents"])}  # what was merged was in another order
        mended = mend(model.network, alignment)
        written = {**written, **stored, "alignment": {**recorded(alignment), "mended": mended}}
    if found is not None:
        if found.temperature is not None:
            model = replace(model, temperature=found.temperature)
        rivals = {path: load(path, trust_code=trust_code) for path in found.rivals if path not in parents}
        report = replace(
            report, summary=(*found.summary, *report.summary), sections=(*found.sections, *report.sections)
        )  # fmt: skip
        model, report, kept, changed = accepted(
            model, {**parents, **rivals}, found.task, report, anew=found.anew, run=run
        )
        written = {**written, "re-estimated": changed}
    shutil.rmtree(work / "saved", ignore_errors=True)
    saved = replace(model, report=report).save(work / "saved")
    if kept:
        record.write(saved, _with_result(written, saved))
        atomic.write_bytes(saved / sums.SUMS, sums.of_part(saved))
    return report


def _with_result(written: Mapping[str, Any], result: Path) -> dict[str, Any]:
    """The record with the digests of the tensors as they were saved: batch statistics may have changed."""
    told, saved = written["tensors"], digests_of(read_header(result / writing.SINGLE))
    tensors = {name: {**told.get(name, {"fate": "copied", "why": ""}), "digest": d} for name, d in saved.items()}
    return {**written, "tensors": tensors}
