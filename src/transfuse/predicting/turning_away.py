"""Which inputs a model does not answer for, and why: in words, with the figures that decided.

Letters: N inputs, C classes or target columns, D features.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from transfuse.core.errors import UsageError
from transfuse.core.nouns import AnyPreprocessing, Guard, Model
from transfuse.core.tables import chosen
from transfuse.probing.outside import scores
from transfuse.sources.inputs import oddities, traits

Ood = Literal["flag", "reject", "off"]
_BEYOND = 2.0
"""Times the range of the training inputs within which a size is ordinary: their least and most are of a sample."""


@dataclass(frozen=True)
class Asked:
    """What one model says of inputs."""

    logits_NC: np.ndarray
    outputs_NC: np.ndarray
    x_ND: np.ndarray | None = None
    """Features, where they are asked for."""

    def row(self, place: int) -> "Asked":
        """Of one input, N = 1."""
        own = slice(place, place + 1)
        return Asked(self.logits_NC[own], self.outputs_NC[own], None if self.x_ND is None else self.x_ND[own])


@dataclass(frozen=True)
class Rules:
    """By what the inputs of one model are turned away."""

    least: float | None
    """Confidence below which an answer is given up."""
    ood: Ood


def asked_for(model: Model, ood: Ood) -> Ood:
    """`off` for a model without a score; raises `UsageError` where it was to reject by one."""
    chosen("ood", ood, ("flag", "reject", "off"))
    scored = model.guard is not None and bool(model.guard.score)
    if ood == "reject" and not scored:
        raise UsageError(
            f"`ood` can be 'reject' where a model knows a score of its validation split, but '{model.name}' does not."
            " Make one with `transfuse guard MODEL DATA --out NEW`."
        )
    return ood if scored else "off"


def unlike(item: Any, read: Any, models: Mapping[str, Model], preprocessing: AnyPreprocessing) -> list[str]:
    """What of an input the models have not met where they learnt, in words.

    item: As the user gave it. read: As it was decoded.
    """
    found = oddities(read, preprocessing)
    ranges = [one.guard.ranges for one in models.values() if one.guard is not None and one.guard.ranges]
    if ranges:
        measured = traits(item, preprocessing)
        found += [words for own in ranges for words in _out_of(own, measured)]
    return list(dict.fromkeys(found))


def _out_of(ranges: Mapping[str, tuple[float, float]], measured: Mapping[str, float]) -> list[str]:
    """Sizes that are less than half of the least, or more than twice the most, of the training inputs."""
    return [
        f"its {name} {_number(measured[name])} is far from those of training, {_number(low)} to {_number(high)}"
        for name, (low, high) in ranges.items()
        if name in measured and not low / _BEYOND <= measured[name] <= high * _BEYOND
    ]


def _number(value: float) -> str:
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.3g}"


def refused(reason: str) -> dict[str, Any]:
    """The answer for an input that is not answered."""
    return {"rejected": True, "reason": reason}


def answer(model: Model, one: Asked | str, rules: Rules) -> dict[str, Any]:
    """The answer of one model for one input (N = 1)."""
    if isinstance(one, str):
        return refused(one)
    if not np.isfinite(one.outputs_NC).all():
        return refused("The model's answer is no finite number: the input lies where the network cannot compute.")
    told: dict[str, Any] = {}
    if rules.ood != "off":
        assert model.guard is not None
        told["outside"] = _outside(model, model.guard, one)
        if told["outside"]["outside"] and rules.ood == "reject":
            return {**refused(_stranger(model.guard, told["outside"]["score"])), **told}
    found = _words(model, one.outputs_NC[0])
    if rules.least is not None and found["confidence"] < rules.least:
        reason = f"The model is too unsure: its confidence {found['confidence']:.3f} is below {rules.least:.3f}."
        return {**refused(reason), "confidence": found["confidence"], **told}
    return {"rejected": False, **found, **told}


def _outside(model: Model, guard: Guard, one: Asked) -> dict[str, Any]:
    logits_NC = one.logits_NC / model.temperature
    score = float(scores(guard.score, model.kind, logits_NC, one.x_ND, guard.statistics)[0])
    return {
        "outside": not score <= guard.threshold,
        "score": score,
        "threshold": guard.threshold,
        "by": guard.score,
    }


def _stranger(guard: Guard, score: float) -> str:
    return (
        f"It is unlike the inputs that the model learnt from: {guard.score} {score:.4g}, above {guard.threshold:.4g},"
        f" which about {guard.ordinary['value']:.1%} of ordinary inputs are."
    )


def _words(model: Model, outputs_C: np.ndarray) -> dict[str, Any]:
    values = {name: float(value) for name, value in zip(model.classes, outputs_C, strict=True)}
    if model.kind == "regression":
        return {"values": values}
    if model.kind == "multi-label":
        return {"classes": [name for name, value in values.items() if value >= 0.5], "probabilities": values}
    best = int(outputs_C.argmax())
    return {"class": model.classes[best], "confidence": float(outputs_C[best]), "probabilities": values}
