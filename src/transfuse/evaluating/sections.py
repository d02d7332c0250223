"""An assessment as parts of a report: per class, confusion, reliability, worst mistakes.

Letters: N examples, C classes or target columns.
"""

from typing import Any

import numpy as np

from transfuse.core.nouns import Section, SoundPreprocessing
from transfuse.evaluating.assessing import Assessment
from transfuse.measuring.metrics import confusion, measure, per_class, reliability
from transfuse.reporting.pictures import thumbnail
from transfuse.sources.sounds.inputs import seen
from transfuse.tasks.images.decoding import decode
from transfuse.tasks.texts.reading import text_of

_WORST = 12
_SHOWN = 300  # characters of a text
_COLUMNS = ("example", "answer", "confidence", "truth", "name")


def detailed(assessment: Assessment) -> list[Section]:
    """The sections that suit the kind of task."""
    sections = [_reliability(assessment)] if assessment.kind != "regression" else []
    if assessment.kind == "single-label":
        sections.append(_confusion(assessment))
    return [*sections, _per_class(assessment), _worst(assessment)]


def _per_class(assessment: Assessment) -> Section:
    rows = per_class(assessment.kind, assessment.targets, assessment.outputs_NC, assessment.classes)
    title = "Per target column" if assessment.kind == "regression" else "Per class"
    return Section(kind="table", title=title, content={"columns": list(rows[0]), "rows": rows})


def _confusion(assessment: Assessment) -> Section:
    counts_CC = confusion(assessment.targets, assessment.outputs_NC, len(assessment.classes))
    content = {"classes": list(assessment.classes), "counts": counts_CC.tolist()}
    return Section(
        kind="confusion", title="Confusion matrix", content=content, note="Rows are the truth, columns the answers."
    )


def _reliability(assessment: Assessment) -> Section:
    bins = reliability(assessment.kind, assessment.targets, assessment.outputs_NC)
    error = measure(assessment.kind, assessment.targets, assessment.outputs_NC)["calibration_error"]
    note = "On the diagonal, a confidence of 80 % is right 80 % of the time."
    return Section(kind="reliability", title="Reliability", content={"bins": bins, "error": error}, note=note)


def _worst(assessment: Assessment) -> Section:
    wrongness_N = _wrongness(assessment)
    places = [int(place) for place in np.argsort(-wrongness_N)[:_WORST] if wrongness_N[place] > 0]
    if not places:
        note = f"None: all {len(wrongness_N)} answers are right."
        return Section(kind="text", title="Worst mistakes", content=[note])
    note = f"The {len(places)} of {len(wrongness_N)} examples on which the model was most surely wrong."
    if assessment.modality not in ("image", "sound"):
        rows = [_row(assessment, place) for place in places]
        columns = [name for name in _COLUMNS if name in rows[0]]
        return Section(kind="table", title="Worst mistakes", content={"columns": columns, "rows": rows}, note=note)
    content = [_picture(assessment, place) for place in places]
    return Section(kind="pictures", title="Worst mistakes", content=content, note=note)


def _wrongness(assessment: Assessment) -> np.ndarray:
    """(N,): how sure the model was of something wrong; 0 for what is right."""
    outputs_NC, targets = assessment.outputs_NC, assessment.targets
    if assessment.kind == "single-label":
        wrong_N = outputs_NC.argmax(1) != targets
        return np.where(wrong_N, outputs_NC.max(1), 0.0)
    if assessment.kind == "multi-label":
        wrong_NC = (outputs_NC >= 0.5) != (targets > 0.5)
        return np.where(wrong_NC, np.abs(outputs_NC - 0.5) * 2, 0.0).max(1)
    deviation_C = targets.std(0)
    return np.abs((outputs_NC - targets) / np.where(deviation_C > 0, deviation_C, 1.0)).max(1)


def _picture(assessment: Assessment, place: int) -> dict[str, Any]:
    examples = assessment.examples
    return {
        "image": thumbnail(_shown(assessment, place)),
        "name": examples.names[place],
        "truth": _words(assessment, assessment.targets[place]),
        "answer": _words(assessment, assessment.outputs_NC[place]),
        "confidence": _confidence(assessment, place),
    }


def _shown(assessment: Assessment, place: int) -> np.ndarray:
    """A picture, or what the model sees of a sound."""
    item = assessment.examples.items[place]
    if isinstance(assessment.preprocessing, SoundPreprocessing):
        return seen(item, assessment.preprocessing)
    return decode(item, 3)


def _row(assessment: Assessment, place: int) -> dict[str, Any]:
    """A text, or a row in words, with what was said of it."""
    examples = assessment.examples
    item = examples.items[place]
    shown = text_of(item) if assessment.modality == "text" else str(item)
    row = {
        "example": shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]} …",
        "answer": _words(assessment, assessment.outputs_NC[place]),
        "truth": _words(assessment, assessment.targets[place]),
        "name": examples.names[place],
    }
    confidence = _confidence(assessment, place)
    return row if confidence is None else {**row, "confidence": confidence}


def _words(assessment: Assessment, values: Any) -> str:
    if assessment.kind == "regression":
        return ", ".join(f"{name} {value:.4g}" for name, value in zip(assessment.classes, values, strict=True))
    if assessment.kind == "multi-label":
        return ", ".join(name for name, value in zip(assessment.classes, values, strict=True) if value >= 0.5) or "none"
    return assessment.classes[int(values) if np.ndim(values) == 0 else int(np.argmax(values))]


def _confidence(assessment: Assessment, place: int) -> float | None:
    if assessment.kind == "regression":
        return None
    outputs_C = assessment.outputs_NC[place]
    return float(outputs_C.max() if assessment.kind == "single-label" else np.abs(outputs_C - 0.5).max() + 0.5)
