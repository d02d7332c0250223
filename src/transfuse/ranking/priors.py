"""What is known of a source before it has seen the user's examples: a figure from its card.

Over 11 networks and 11 data sets, sorting by a plain prior orders fine-tuned networks better than LogME or LEEP do
(recomputed from the tables of Shao et al., "Not All Models Are Equal", arXiv:2207.03036). A card lies beside the
weights: WEIGHTS.json with `"prior": {"value": 0.72, "of": "ImageNet top-1 accuracy"}`, or a hub's README.md whose
front matter has a `model-index` with accuracies. More must be better.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Source
from transfuse.core.tables import chosen

GIVEN = "given by the user"


@dataclass(frozen=True, kw_only=True)
class Prior:
    """One figure of a source; figures of one yardstick can be compared."""

    value: float
    of: str
    """The yardstick: metric and data set."""


def priors_of(sources: Sequence[Source], given: Mapping[str, float]) -> dict[str, Prior]:
    """Priors by the sources' names, all of one yardstick: what the user gave, or what most cards have.

    given: figures by reference or name. Raises `UnknownName` for one of no source, `UsageError` for no number. Empty
    when fewer than two sources have a figure of the same yardstick: there is nothing to order then.
    """
    found = _given(sources, given) if given else {s.name: prior for s in sources if (prior := card_prior(s))}
    yardsticks = Counter(prior.of for prior in found.values())
    if not yardsticks or max(yardsticks.values()) < 2:
        return {}
    most = max(sorted(yardsticks), key=yardsticks.__getitem__)
    return {name: prior for name, prior in found.items() if prior.of == most}


def card_prior(source: Source) -> Prior | None:
    """The figure on the card beside a source's weights; None without a card or a figure that can be read."""
    if source.weights is None:
        return None
    weights = Path(source.weights)
    try:
        document = _json(weights.with_suffix(".json")) or _front_matter(weights.with_name("README.md"))
    except (OSError, ValueError):
        return None
    value, of = document.get("value"), document.get("of")
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or not of:
        return None
    return Prior(value=float(value), of=str(of))


def _given(sources: Sequence[Source], given: Mapping[str, float]) -> dict[str, Prior]:
    names = {known: source.name for source in sources for known in (source.reference, source.name)}
    for name, value in given.items():
        chosen("source with a prior", name, names)
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise UsageError(f"The prior of '{name}' must be a finite number, more being better, but is {value!r}.")
    return {names[name]: Prior(value=float(value), of=GIVEN) for name, value in given.items()}


def _json(path: Path) -> Mapping[str, Any]:
    document = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    prior = document.get("prior") if isinstance(document, Mapping) else None
    return prior if isinstance(prior, Mapping) else {}


def _front_matter(path: Path) -> Mapping[str, Any]:
    """The first accuracy of a hub's model card."""
    if not path.is_file():
        return {}
    import yaml

    parts = path.read_text(encoding="utf-8", errors="replace").split("---", 2)
    try:
        document = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0].strip() else {}
        results = [result for model in document["model-index"] for result in model["results"]]
        for result in results:
            for metric in result["metrics"]:
                if metric["type"] == "accuracy":
                    return {"value": metric["value"], "of": f"accuracy on {result['dataset']['name']}"}
    except (yaml.YAMLError, KeyError, TypeError, RecursionError):
        return {}
    return {}
