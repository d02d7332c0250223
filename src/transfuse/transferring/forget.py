"""forget: pictures out of a probe, as if it had never seen them.

The new head is the one that a probe without these examples gives with the same strength, metric and temperature,
since the sums over examples that determine it subtract: see `probing/learnt.py`. What this does not undo is said.
"""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from transfuse.core.errors import DataError
from transfuse.core.nouns import AnyPreprocessing, DataWarning, Examples, Model
from transfuse.core.runs import Run
from transfuse.probing.learnt import Learnt, less
from transfuse.sources.inputs import digests_of, expanded
from transfuse.tasks.images.arrays import list_memory
from transfuse.transferring.relearning import changed, features_of, probe_of, relearning_report, relearnt, step_of

NOT_FORGOTTEN = (
    "Not forgotten, because it was chosen by all examples once: the strength of the penalty, its metric, the"
    " temperature, the depths, and the scale of regression targets.",
    "Not forgotten either: a body that was trained on these pictures earlier, the digest of the whole task in the"
    " provenance, features in the cache (`transfuse cache --clear`), copies of this model and of the pictures.",
)


def forget(
    model: Model | str | Path,
    pictures: Any,
    *,
    skip_unknown: bool = False,
    as_ridge: bool = False,
    trust_code: bool = False,
    run: Run = Run(),
    command: str = "",
) -> Model:
    """The probe without these pictures: no pass over the others, equal to a fit to the others.

    Equal at the same strength, metric and temperature. Pictures are known by their digest: the same bytes of a file,
    or the same pixels of an array. Every copy that was learnt is forgotten, whatever its label was.

    Args:
        model: A probe or the folder of one.
        pictures: A path, array or PIL picture, or a sequence of them; a folder stands for the pictures in it.
        skip_unknown: Leave out pictures that were not learnt, instead of refusing to forget any.
        as_ridge: Let a logistic head, which sums do not determine, become the ridge head on the same features.
        trust_code: Open a model that was built by the user's own function.
        run: Watcher.
        command: What repeats this, for the report.

    Raises:
        ModelError: The model does not know what its head was made of.
        UsageError: The head is logistic.
        DataError: A picture that was not learnt or cannot be read; fewer than 2 examples would be left.
    """
    started = time.monotonic()
    before, learnt = probe_of(model, as_ridge=as_ridge, trust_code=trust_code)
    examples, warnings = _learnt_ones(
        _items(pictures, before.preprocessing), before.preprocessing, learnt, skip_unknown
    )
    x_ND = features_of(before, examples, learnt.precision, run)
    after = less(learnt, x_ND, examples.digests)
    gone = len(learnt.digests) - len(after.digests)
    facts = {"examples": gone, "learnt": len(after.digests), "as_ridge": as_ridge}  # what they were is forgotten
    result = relearnt(before, after, step_of("forget", before, time.monotonic() - started, facts))
    report = relearning_report(
        result,
        f"{before.name}, after forgetting",
        ({"head": "before", **_counts(learnt, before)}, {"head": "after", **_counts(after, before)}),
        (
            f"{gone} examples were forgotten. The head is that of a fit to the other {len(after.digests)} at the"
            f" strength {learnt.strength:g}, the metric and the temperature of the first one.",
            changed(before, result),
            *NOT_FORGOTTEN,
        ),
        warnings=(*warnings, *_emptied(learnt, after, before)),
        command=command,
    )
    return replace(result, report=report)


def _items(pictures: Any, preprocessing: AnyPreprocessing) -> Sequence[Any]:
    """The pictures as a Task that was opened from them has them: an array of numbers is scaled as a whole."""
    if isinstance(pictures, np.ndarray) and pictures.ndim == 4:
        return list_memory(pictures, np.zeros(len(pictures))).items
    return expanded(pictures, preprocessing)


def _learnt_ones(
    items: Sequence[Any], preprocessing: AnyPreprocessing, learnt: Learnt, skip_unknown: bool
) -> tuple[Examples, tuple[DataWarning, ...]]:
    """The pictures that were learnt, each once; the others are an error, or a warning."""
    digests = digests_of(items, preprocessing)
    known = set(learnt.digests)
    names = [str(item) if isinstance(item, str | Path) else f"picture {place}" for place, item in enumerate(items)]
    strange = [name for name, digest in zip(names, digests, strict=True) if digest not in known]
    if strange and (not skip_unknown or len(strange) == len(items)):
        raise DataError(
            f"Pictures to forget must have been learnt, but {len(strange)} of {len(items)} were not, or were changed"
            f" since: {', '.join(strange[:5])}{' ...' if len(strange) > 5 else ''}. Nothing was forgotten."
            + (" Leave them out with `skip_unknown=True` (--skip-unknown)." if len(strange) < len(items) else "")
        )
    places = list({digest: place for place, digest in enumerate(digests) if digest in known}.values())
    examples = Examples(
        items=[items[place] for place in places],
        targets=np.zeros(len(places), np.int64),
        digests=tuple(digests[place] for place in places),
        names=tuple(names[place] for place in places),
    )
    if not strange:
        return examples, ()
    message = f"{len(strange)} of {len(items)} pictures were not learnt, or were changed since, and are left out."
    return examples, (DataWarning(code="not-learnt", message=message, places=tuple(strange)),)


def _counts(learnt: Learnt, model: Model) -> Mapping[str, int]:
    """Learnt examples in all, and of each of the first classes."""
    if model.kind != "single-label":
        return {"learnt": len(learnt.digests)}
    of_class = Counter(learnt.targets.tolist())
    classes = model.classes[:12]
    return {"learnt": len(learnt.digests), **{name: of_class[place] for place, name in enumerate(classes)}}


def _emptied(before: Learnt, after: Learnt, model: Model) -> tuple[DataWarning, ...]:
    """A warning for classes of which nothing is left."""
    if model.kind != "single-label":
        return ()
    empty = sorted(set(before.targets.tolist()) - set(after.targets.tolist()))
    if not empty:
        return ()
    names = tuple(model.classes[place] for place in empty)
    message = f"{len(names)} classes have no example left: the head never chooses them."
    return (DataWarning(code="class-emptied", message=message, places=names),)
