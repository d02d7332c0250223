"""How well a model notices inputs that belong to none of its classes.

Letters: N inputs, C classes, D features.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Examples, Model, Section
from transfuse.core.runs import Run
from transfuse.predicting.predict import logits
from transfuse.probing.rejecting import energy, improbability, mahalanobis, operating_curve, separation

Scores = Mapping[str, tuple[np.ndarray, np.ndarray]]
"""By name: scores of inputs from inside and from outside, larger for what lies further outside."""


def reject_scores(
    model: Model, inside: Examples, outside: list[Any], *, train: Examples | None = None, run: Run = Run()
) -> Scores:
    """Every score that the model allows; the distance to class means needs the examples that it learnt from."""
    if model.kind != "single-label":
        raise UsageError(f"Out-of-scope detection needs a single-label model, but '{model.name}' is {model.kind}.")
    body = model.network.get_submodule("body")
    groups = [inside.items, outside, *([train.items] if train is not None else [])]
    seen = [logits(body, items, model.preprocessing, run=run) for items in groups]
    answers = [_answers(model, x_ND) / model.temperature for x_ND in seen[:2]]
    found = {
        "maximum probability": (improbability(answers[0]), improbability(answers[1])),
        "energy": (energy(answers[0]), energy(answers[1])),
    }
    if train is not None:
        distances = [mahalanobis(x_ND, seen[2], train.targets) for x_ND in seen[:2]]
        found["Mahalanobis"] = (distances[0], distances[1])
    return found


def about_scope(scores: Scores, *, seed: int = 0) -> tuple[Section, str]:
    """The operating curves as a table, and the best score in a sentence."""
    rows: list[dict[str, Any]] = []
    areas = {name: separation(*pair, seed=seed) for name, pair in scores.items()}
    for name, (inside_N, outside_N) in scores.items():
        curve = operating_curve(inside_N, outside_N)
        rows += [{"score": name, "AUROC": areas[name], **point} for point in curve]
    best = max(areas, key=lambda name: areas[name]["value"])
    at95 = operating_curve(*scores[best], kept=(0.95,))[0]
    area = areas[best]
    sentence = (
        f"Out of scope: {best} tells inputs from outside apart with an AUROC of {area['value']:.3f} ({area['low']:.3f}"
        f" to {area['high']:.3f}, n = {area['n']:.0f}); rejecting above {at95['threshold']:.4g} answers"
        f" {at95['inside answered']:.1%} of what is inside and rejects {at95['outside rejected']:.1%} of the outside."
    )
    note = "Thresholds are set on the inputs inside; the share of the outside that they reject is measured."
    content = {"columns": list(rows[0]), "rows": rows}
    return Section(kind="table", title="Out of scope", content=content, note=note), sentence


def _answers(model: Model, x_ND: np.ndarray) -> np.ndarray:
    import torch

    head = model.network.get_submodule("head")
    with torch.inference_mode():
        return head(torch.from_numpy(x_ND)).double().numpy()
