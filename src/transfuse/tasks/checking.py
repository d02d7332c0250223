"""What the user should know about targets and splits before anything is learnt from them.

Letters: N examples; C classes; M pairs.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from transfuse.core.errors import DataError
from transfuse.core.nouns import DataWarning
from transfuse.tasks.listing import Listing
from transfuse.tasks.targets import Targets

_FEW = 5  # training examples below which a class is called very small
_IMBALANCE = 20.0  # largest over smallest class


def targets_warnings(targets: Targets, parts: np.ndarray) -> tuple[DataWarning, ...]:
    """Classes that are missing, very small or out of proportion. Raises `DataError` when nothing can be learnt."""
    if targets.kind == "regression":
        return tuple(_regression(targets, parts))
    if targets.kind == "single-label":
        present = {
            part: np.bincount(targets.values[parts == part], minlength=len(targets.classes)) for part in _kinds(parts)
        }
        if np.count_nonzero(np.sum(list(present.values()), axis=0)) < 2:
            only = targets.classes[int(targets.values[0])]
            raise DataError(f"There must be at least two classes to tell apart, but all examples are '{only}'.")
        if np.count_nonzero(present["train"]) < 2:
            only = targets.classes[int(np.argmax(present["train"]))]
            raise DataError(f"The training split must hold at least two classes, but holds only '{only}'.")
    else:
        present = {part: targets.values[parts == part].sum(axis=0) for part in _kinds(parts)}
        _check_labels(targets, parts)
    return tuple(_classes(targets, present, int((parts == "train").sum())))


def _kinds(parts: np.ndarray) -> list[str]:
    return [part for part in ("train", "valid", "test") if (parts == part).any()]


def _regression(targets: Targets, parts: np.ndarray) -> Iterator[DataWarning]:
    spread = targets.values[parts == "train"].std(axis=0)
    constant = tuple(name for name, value in zip(targets.classes, spread, strict=True) if value == 0)
    if len(constant) == len(targets.classes):
        raise DataError(f"The target '{constant[0]}' must vary, but is the same for all training examples.")
    if constant:
        message = (
            f"{len(constant)} target column(s) are the same for all training examples; nothing can be learnt there."
        )
        yield DataWarning(code="constant-target", message=message, places=constant)


def _check_labels(targets: Targets, parts: np.ndarray) -> None:
    train = targets.values[parts == "train"]
    if (train.min(axis=0) == train.max(axis=0)).all():
        raise DataError("At least one class must be in some training examples and not in others, but none is.")


def _classes(targets: Targets, present: dict[str, np.ndarray], trained: int) -> Iterator[DataWarning]:
    train = present["train"]
    total = np.sum(list(present.values()), axis=0)
    names = targets.classes
    yield from _named(
        names,
        (train == 0) & (total > 0),
        "class-not-in-train",
        "{} class(es) have no training example: they cannot be learnt.",
    )
    yield from _named(names, total == 0, "class-without-examples", "{} class(es) are named but have no example at all.")
    for part, counts in present.items():
        if part != "train":
            message = "{} class(es) have no example in the split '" + part + "': its figures say nothing about them."
            yield from _named(names, (counts == 0) & (train > 0), "class-missing-in-split", message)
    if targets.kind == "multi-label":
        yield from _named(
            names,
            train == trained,
            "class-always-present",
            "{} class(es) are in every training picture: there is nothing to tell apart.",
        )
    few = (train > 0) & (train < _FEW)
    yield from _named(names, few, "small-class", "{} class(es) have fewer than " + f"{_FEW} training examples.", train)
    seen = train[train > 0]
    if len(seen) > 1 and seen.max() / seen.min() >= _IMBALANCE:
        largest, smallest = int(np.argmax(train)), int(np.argmin(np.where(train > 0, train, np.inf)))
        yield DataWarning(
            code="imbalance",
            message=f"'{names[largest]}' has {int(train[largest])} training examples, '{names[smallest]}' only "
            f"{int(train[smallest])}: accuracy alone misleads; see balanced accuracy and the table of classes.",
            places=(names[largest], names[smallest]),
        )


def _named(
    names: Sequence[str], mask: np.ndarray, code: str, message: str, counts: np.ndarray | None = None
) -> Iterator[DataWarning]:
    places = np.flatnonzero(mask)
    if len(places):
        told = tuple(names[p] if counts is None else f"{names[p]}: {int(counts[p])}" for p in places.tolist())
        yield DataWarning(code=code, message=message.format(len(places)), places=told)


def copies_warnings(
    listing: Listing,
    targets: Targets,
    parts: np.ndarray,
    exact: np.ndarray,
    near: np.ndarray,
    *,
    noun: str = "pictures",
) -> tuple[DataWarning, ...]:
    """Copies that lie in different splits, and equal examples with different targets; `noun` is what these are."""

    def told(a: int, b: int) -> str:
        return f"{listing.names[a]} ({parts[a]}) = {listing.names[b]} ({parts[b]})"

    def labelled(a: int, b: int) -> str:
        return f"{listing.names[a]} ({_spoken(targets, a)}) = {listing.names[b]} ({_spoken(targets, b)})"

    alike = " that look the same" if noun == "pictures" else " that are nearly equal"
    across_exact, across_near = exact[_differs(parts, exact)], near[_differs(parts, near)]
    contradictory = exact[_differs(targets.values, exact)]
    return (
        *_pairs(
            across_exact,
            "duplicate-across-splits",
            "{} pair(s) of equal " + noun + " lie in different splits: figures will flatter.",
            told,
        ),
        *_pairs(
            across_near,
            "near-duplicate-across-splits",
            "{} pair(s) of " + noun + alike + " lie in different splits: figures may flatter.",
            told,
        ),
        *_pairs(
            contradictory, "contradictory-labels", "{} pair(s) of equal " + noun + " have different targets.", labelled
        ),
    )


def _differs(values: np.ndarray, pairs: np.ndarray) -> np.ndarray:
    different = values[pairs[:, 0]] != values[pairs[:, 1]]
    return different if different.ndim == 1 else different.any(axis=1)


def _pairs(pairs: np.ndarray, code: str, message: str, told: Callable[[int, int], str]) -> Iterator[DataWarning]:
    if len(pairs):
        yield DataWarning(
            code=code, message=message.format(len(pairs)), places=tuple(told(a, b) for a, b in pairs.tolist())
        )


def _spoken(targets: Targets, place: int) -> str:
    value = targets.values[place]
    if targets.kind == "single-label":
        return targets.classes[int(value)]
    if targets.kind == "multi-label":
        return "|".join(targets.classes[c] for c in np.flatnonzero(value).tolist()) or "none"
    return ", ".join(f"{number:g}" for number in value)


def groups_warnings(listing: Listing, parts: np.ndarray) -> tuple[DataWarning, ...]:
    """Groups that the user's own splits tear apart, and examples without a group."""
    if listing.groups is None:
        return ()
    seen: dict[str, set[str]] = {}
    for group, part in zip(listing.groups, parts.tolist(), strict=True):
        if group is not None:
            seen.setdefault(group, set()).add(part)
    torn = tuple(f"{group} ({', '.join(sorted(where))})" for group, where in seen.items() if len(where) > 1)
    lone = tuple(name for name, group in zip(listing.names, listing.groups, strict=True) if group is None)
    warnings = []
    if torn:
        message = f"{len(torn)} group(s) lie in several of the given splits: figures will flatter."
        warnings.append(DataWarning(code="group-across-splits", message=message, places=torn))
    if lone:
        message = f"{len(lone)} example(s) have no group; each is taken as a group of its own."
        warnings.append(DataWarning(code="missing-group", message=message, places=lone))
    return tuple(warnings)
