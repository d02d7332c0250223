"""From labels as written to the numbers to be learnt, and which kind of learning they ask for.

Letters: N examples; C classes or target columns.
"""

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from transfuse.core.errors import DataError
from transfuse.core.nouns import DataWarning, Kind
from transfuse.core.tables import chosen
from transfuse.tasks.listing import Listing, in_order, kept, natural

KINDS: tuple[Kind, ...] = ("single-label", "multi-label", "regression")
_SEPARATORS = ("|", ";")
_FEW_VALUES = 20  # distinct whole numbers up to which they are taken for classes


@dataclass(frozen=True, kw_only=True)
class Targets:
    """The numbers to be learnt."""

    kind: Kind
    classes: tuple[str, ...]
    values: np.ndarray
    """As in `Examples.targets`."""


def without_missing(listing: Listing) -> Listing:
    """The listing without examples that have no target or no weight; a warning names them."""
    bad = [place for place, label in enumerate(listing.labels) if _missing(label)]
    listing = _dropped(listing, bad, "missing-target", "have no target")
    if listing.weights is not None:
        bad = [place for place, weight in enumerate(listing.weights) if weight is None or not 0 <= weight < math.inf]
        listing = _dropped(listing, bad, "bad-weight", "have no weight, or one that is negative or not finite")
    if not len(listing):
        raise DataError("No example has a target, so there is nothing to learn.")
    return listing


def _dropped(listing: Listing, bad: Sequence[int], code: str, what: str) -> Listing:
    if not bad:
        return listing
    warning = DataWarning(
        code=code,
        message=f"{len(bad)} of {len(listing)} examples {what} and are left out.",
        places=tuple(listing.names[place] for place in bad),
    )
    gone = set(bad)
    return kept(listing, [place for place in range(len(listing)) if place not in gone], warning)


def _missing(label: Any) -> bool:
    if label is None or (isinstance(label, float) and math.isnan(label)):
        return True
    if isinstance(label, tuple):
        return any(_missing(value) for value in label)
    return isinstance(label, str) and not label.strip()


def guess_kind(listing: Listing) -> tuple[Kind, str]:
    """The kind that the labels ask for, and why, in words."""
    if listing.kind is not None:
        return listing.kind, ""
    labels = listing.labels
    if len(listing.columns) > 1:
        binary = all(value in (0, 1) for row in labels for value in row)
        return ("multi-label", "several columns of 0 and 1") if binary else ("regression", "several columns of numbers")
    if any(isinstance(label, list) for label in labels):
        return "multi-label", "lists of classes"
    texts = [label for label in labels if isinstance(label, str)]
    separator = next((mark for mark in _SEPARATORS if any(mark in text for text in texts)), None)
    if separator:
        return "multi-label", f"several classes separated by '{separator}'"
    if texts:
        return "single-label", f"{len(set(map(str, labels)))} distinct texts"
    return _guess_numbers([_number(label) for label in labels])


def _guess_numbers(numbers: list[float]) -> tuple[Kind, str]:
    distinct = sorted(set(numbers))
    if not all(number.is_integer() for number in distinct):
        return "regression", "numbers with fractions"
    counted = distinct[0] in (0, 1) and len(distinct) == distinct[-1] - distinct[0] + 1
    if len(distinct) <= _FEW_VALUES or (counted and len(distinct) <= 1000 and len(numbers) >= 20 * len(distinct)):
        return "single-label", f"{len(distinct)} distinct whole numbers"
    return "regression", f"{len(distinct)} distinct whole numbers"


def encode(listing: Listing, kind: Kind | None = None) -> tuple[Targets, tuple[DataWarning, ...]]:
    """Targets of the listing. A guessed kind is stated in a note. Raises `DataError` when labels do not fit `kind`."""
    if kind is not None:
        chosen("kind of task", kind, KINDS)
        return _encoded(listing, kind, None), ()
    kind, why = guess_kind(listing)
    notes: tuple[DataWarning, ...] = ()
    if why:
        others = " or ".join(f"kind='{other}'" for other in KINDS if other != kind)
        column = listing.description.get("target")
        where = f"in '{column}' " if isinstance(column, str) else ""
        message = f"The targets {where}are taken as {kind} ({why}). If that is wrong, say {others}."
        notes = (DataWarning(code="kind-guessed", message=message, severity="note"),)
    return _encoded(listing, kind, None), notes


def encode_as(listing: Listing, kind: Kind, classes: Sequence[str]) -> Targets:
    """Targets in the order of `classes`, which a model knows; raises `DataError` naming classes that it does not."""
    return _encoded(listing, kind, tuple(classes))


def _encoded(listing: Listing, kind: Kind, classes: tuple[str, ...] | None) -> Targets:
    if kind == "regression":
        return _regression(listing, classes)
    if kind == "single-label" and len(listing.columns) > 1:
        hot = [listing.columns[_hot(listing, place)] for place in range(len(listing))]
        return _single(replace(listing, classes=listing.columns), hot, classes)
    if kind == "single-label":
        return _single(listing, [_name(label) for label in listing.labels], classes)
    return _multi(listing, classes)


def _single(listing: Listing, names: list[str], classes: tuple[str, ...] | None) -> Targets:
    known = classes or listing.classes or in_order(names)
    _check_known(names, known, classes is not None)
    index = {name: place for place, name in enumerate(known)}
    return Targets(kind="single-label", classes=known, values=np.array([index[name] for name in names], np.int64))


def _multi(listing: Listing, classes: tuple[str, ...] | None) -> Targets:
    if len(listing.columns) > 1:
        table = np.array(listing.labels, np.float32)
        if not np.isin(table, (0, 1)).all():
            raise DataError(
                "For kind='multi-label' every target column must hold 0 or 1, but other numbers were found."
            )
        names_N = [[listing.columns[int(place)] for place in np.flatnonzero(row)] for row in table]
        found: tuple[str, ...] = listing.columns
    else:
        names_N = [_names(label) for label in listing.labels]
        found = listing.classes or in_order(name for names in names_N for name in names)
    known = classes or found
    _check_known([name for names in names_N for name in names], known, classes is not None)
    index = {name: place for place, name in enumerate(known)}
    values_NC = np.zeros((len(listing), len(known)), np.float32)
    for row, names in enumerate(names_N):
        values_NC[row, [index[name] for name in names]] = 1
    return Targets(kind="multi-label", classes=known, values=values_NC)


def _regression(listing: Listing, classes: tuple[str, ...] | None) -> Targets:
    rows = listing.labels if listing.columns else [(label,) for label in listing.labels]
    try:
        values_NC = np.array([[_number(value) for value in row] for row in rows], np.float32)
    except (TypeError, ValueError):
        bad = next(value for row in rows for value in row if not _numeric(value))
        raise DataError(f"For kind='regression' every target must be a number, but '{bad}' was found.") from None
    if not np.isfinite(values_NC).all():
        infinite = [listing.names[int(row)] for row in np.flatnonzero(~np.isfinite(values_NC).all(axis=1))]
        raise DataError(f"Targets must be finite, but are not for {len(infinite)} examples: {', '.join(infinite[:5])}.")
    target = listing.description.get("target")
    found = listing.columns or (target if isinstance(target, str) else "target",)
    if classes is not None and len(classes) != values_NC.shape[1]:
        raise DataError(
            f"The model gives {len(classes)} number(s) ({', '.join(classes)}), but the data hold {values_NC.shape[1]}."
        )
    return Targets(kind="regression", classes=classes or found, values=values_NC)


def _hot(listing: Listing, place: int) -> int:
    row = listing.labels[place]
    if sum(row) != 1 or max(row) != 1:
        raise DataError(
            "For kind='single-label' exactly one target column must hold 1 in each row, "
            f"but {listing.names[place]} holds {', '.join(f'{value:g}' for value in row)}."
        )
    return row.index(1)


def _check_known(names: Iterable[str], known: Sequence[str], of_model: bool) -> None:
    strange = sorted(set(names) - set(known), key=natural)
    if strange:
        owner = "The model knows" if of_model else "The data name"
        raise DataError(
            f"{owner} the classes {_some(known)}, but examples are labelled {_some(strange)}. "
            "Rename or leave out these examples."
        )


def _some(names: Sequence[str]) -> str:
    quoted = [f"'{name}'" for name in names[:12]]
    return ", ".join(quoted) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def _name(label: Any) -> str:
    if isinstance(label, list):
        if len(label) != 1:
            raise DataError(
                f"For kind='single-label' every example must have one class, but one has {len(label)}: {label}."
            )
        label = label[0]
    if isinstance(label, tuple):
        label = label[0]
    if isinstance(label, bool | np.bool_):
        return str(bool(label)).lower()
    return str(int(label)) if isinstance(label, float) and label.is_integer() else str(label).strip()


def _names(label: Any) -> list[str]:
    if isinstance(label, list | tuple):
        return list(dict.fromkeys(_name(part) for part in label))
    text = _name(label)
    if text.startswith("[") and text.endswith("]"):
        return _from_brackets(text)
    separator = next((mark for mark in _SEPARATORS if mark in text), None)
    parts = text.split(separator) if separator else [text]
    return list(dict.fromkeys(part.strip() for part in parts if part.strip()))


def _from_brackets(text: str) -> list[str]:
    """`["a", "b"]`, `['a', 'b']` and `[a, b]`."""
    try:
        return [_name(part) for part in json.loads(text)]
    except ValueError:
        return [part for raw in text[1:-1].split(",") if (part := raw.strip().strip("'\""))]


def _number(label: Any) -> float:
    if isinstance(label, tuple):
        label = label[0]
    return float(label)


def _numeric(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
