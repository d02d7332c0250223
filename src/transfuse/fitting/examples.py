"""What scikit-learn hands to an estimator as X, where it holds pictures or texts: recognised, seen, learnt from.

Strings are texts to a source of texts, and paths of pictures to others; `builtin` takes them as what they look like.
Letters: N examples, H, W pixels, C channels or classes, D features.
"""

import contextlib
import os
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight

from transfuse.core.digests import of_value
from transfuse.core.errors import DataError, UsageError
from transfuse.core.nouns import Examples, Kind, Model, Source, Task
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.fitting.fit import fit
from transfuse.fitting.refitting import merged
from transfuse.sources.depths import FINAL, spread
from transfuse.sources.extraction import features
from transfuse.sources.inputs import digests_of
from transfuse.sources.opening import open_source
from transfuse.sources.precision import Precision
from transfuse.sources.references import find
from transfuse.sources.suiting import suited
from transfuse.sources.texts import words
from transfuse.tasks.images.arrays import list_memory
from transfuse.tasks.images.decoding import SUFFIXES
from transfuse.tasks.listing import SOUNDS
from transfuse.tasks.opening import open_task
from transfuse.transferring.transfer import carried_out
from transfuse.tuning.starting import COUNTS

_SMALL = 256 * 1024**2
"""Bytes of features that are kept in memory, so that the folds of a search share them."""
_kept: OrderedDict[tuple[str, str], np.ndarray] = OrderedDict()


def examples_in(x: Any) -> list[Any] | None:
    """The pictures or texts that X holds; None when it is a table of numbers, or something for others to refuse.

    They are an array of numbers (N, H, W) or (N, H, W, C), or N texts, paths, encoded pictures, arrays or Pillow
    pictures in a list, an array of objects or a column of a table.
    """
    if isinstance(x, np.ndarray) and x.dtype.kind in "uifb" and x.ndim in (3, 4):
        try:
            return list(list_memory(x, np.zeros(len(x))).items)
        except DataError as error:
            raise UsageError(str(error)) from error
    if hasattr(x, "iloc"):
        x = np.asarray(x)
    if isinstance(x, np.ndarray):
        column = x.dtype.kind in "OU" and (x.ndim == 1 or (x.ndim == 2 and x.shape[1] == 1))
        x = x.reshape(-1).tolist() if column else None
    if not isinstance(x, list | tuple) or not x or not all(map(_is_example, x)):
        return None
    return [os.fspath(item) if isinstance(item, os.PathLike) else item for item in x]


def features_of(source: Source, items: Sequence[Any], depths: str, precision: Precision) -> np.ndarray:
    """What the frozen source sees, float32 (N, D): extracted once for each example, and kept in memory and on disk."""
    digests = digests_of(items, source.preprocessing)
    identity = of_value([source.digest, plain(source.preprocessing), depths, precision])
    found = {digest: _kept[identity, digest] for digest in digests if (identity, digest) in _kept}
    missing = {digest: item for digest, item in zip(digests, items, strict=True) if digest not in found}
    if missing:
        found |= dict(zip(missing, _extracted(source, missing, depths, precision), strict=True))
        _keep({(identity, digest): found[digest] for digest in missing})
    return np.stack([found[digest] for digest in digests])


def names_of(source: Source, depths: str) -> tuple[str, ...]:
    """Names of the features, by opening the source."""
    opened = open_source(source)
    if depths == "final":
        return tuple(f"{source.name}_{place}" for place in range(opened.feature_size))
    blank = "blank" if source.modality == "text" else np.zeros((8, 8, 3), np.uint8)
    sizes = _by_depth(source, {"blank": blank}, depths, "float32")
    return tuple(f"{source.name}_{name}_{place}" for name, x_ND in sizes.items() for place in range(x_ND.shape[1]))


def learnt_from(
    source: Source,
    items: Sequence[Any],
    targets: Any,
    *,
    kind: Kind,
    method: str,
    weights_N: np.ndarray | None,
    options: Mapping[str, Any],
) -> Model:
    """A Model of examples in memory by one method; a probe learns from all of them, training holds a fifth back.

    The method `fit` is the whole main job, with its own options.
    """
    seed = options["seed"]
    weight = None if weights_N is None else [float(weight) for weight in weights_N]
    task = open_task((list(items), targets), source.modality, kind=kind, weight=weight, valid=0.2, test=0.0, seed=seed)
    for warning in task.warnings:
        if warning.code in ("unreadable", "empty-text", "missing-target", "bad-weight"):
            raise UsageError(f"{warning.message} {', '.join(warning.places[:5])}")
    if method == "fit":
        return fit(task, **{"sources": [source], **options})
    task = merged(task) if method == "probe" else task
    return carried_out(source, task, method=method, name=None, run=Run(), options=dict(options))[0]


def source_of(source: Source | str, trust_code: bool, items: Sequence[Any] = ()) -> Source:
    """What the parameter `source` of an estimator means; `builtin` counts words where the examples are texts."""
    if source == "builtin" and items and all(isinstance(item, str) and not _is_path(item) for item in items):
        source = f"builtin:{words.NAME}"
    return source if isinstance(source, Source) else find(str(source), trust_code=trust_code)


def seen_by(source: Source, items: Sequence[Any]) -> Source:
    """The source that sees these examples; of `builtin:words` the one that learnt their words."""
    if source.modality != "text":
        return source
    found = dict(zip(digests_of(items, source.preprocessing), items, strict=True))
    return suited(source, _as_task(source, found, "train"))


@contextlib.contextmanager
def as_value_errors() -> Iterator[None]:
    """Errors in the user's data, as the ValueError that scikit-learn expects."""
    try:
        yield
    except DataError as error:
        raise UsageError(str(error)) from error


def weights_given(sample_weight: Any, rows: Any) -> np.ndarray | None:
    """The user's example weights, checked; None for equal ones."""
    if sample_weight is None:
        return None
    places = np.zeros((len(rows), 1))
    return _check_sample_weight(sample_weight, places, dtype=np.float64, ensure_non_negative=True)


def seed_of(random_state: Any) -> int:
    """What `random_state` means as a seed."""
    if random_state is None:
        return 0
    if isinstance(random_state, int | np.integer):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def class_names(classes: np.ndarray) -> list[str]:
    """A name for each class, as a Model has them; places beside names that are blank or alike."""
    names = [str(name).strip() for name in classes]
    if len(set(names)) == len(names) and all(names):
        return names
    return [f"{place} {name}".strip() for place, name in enumerate(names)]


def _is_example(item: Any) -> bool:
    if isinstance(item, np.ndarray):
        return item.ndim in (2, 3) and item.dtype.kind in "uifb"
    return isinstance(item, str | os.PathLike | bytes | Image.Image)


def _is_path(text: str) -> bool:
    """Whether a string is meant as a file, there or not, and not as a text."""
    with contextlib.suppress(OSError, ValueError):  # a text may be too long for a name, or hold a NUL
        return Path(text).suffix.lower() in (*SUFFIXES, *SOUNDS) or Path(text).exists()
    return False


def _extracted(source: Source, items: Mapping[str, Any], depths: str, precision: Precision) -> np.ndarray:
    return np.concatenate(list(_by_depth(source, items, depths, precision).values()), axis=1)


def _by_depth(source: Source, items: Mapping[str, Any], depths: str, precision: Precision) -> dict[str, np.ndarray]:
    """Features (N, D) at each of the depths, of examples by their digests."""
    task = _as_task(source, items, "rows")
    opened = open_source(source) if depths != "final" else source
    names = (FINAL,) if isinstance(opened, Source) else spread(opened.depths, COUNTS[depths])
    found = features(opened, task, "rows", names, precision=precision)
    assert isinstance(found, dict)
    return {name: np.asarray(found[name].x_ND) for name in names}


def _as_task(source: Source, items: Mapping[str, Any], split: str) -> Task:
    """Examples without labels, by their digests, as one split."""
    examples = Examples(
        items=list(items.values()),
        targets=np.zeros(len(items), np.int64),
        digests=tuple(items),
        names=tuple(f"row {row}" for row in range(len(items))),
    )
    return Task(
        name="rows",
        modality=source.modality,
        kind="single-label",
        classes=("",),
        splits={split: examples},
        seed=0,
        digest="",
    )


def _keep(rows: Mapping[tuple[str, str], np.ndarray]) -> None:
    """Add rows to those in memory; the oldest go when there is no room."""
    _kept.update({key: row.copy() for key, row in rows.items()})
    total = sum(row.nbytes for row in _kept.values())
    while total > _SMALL:
        total -= _kept.popitem(last=False)[1].nbytes
