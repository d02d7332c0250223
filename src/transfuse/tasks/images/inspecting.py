"""Reading every picture once: which can be read, what each one holds (digest), how each one looks (small thumbnail).

Letters: N examples; T side of a thumbnail.
"""

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from transfuse.core import digests
from transfuse.core.errors import DataError
from transfuse.core.nouns import DataWarning
from transfuse.core.runs import Run
from transfuse.tasks.images.decoding import Stored, examined, opened
from transfuse.tasks.images.loading import default_workers
from transfuse.tasks.listing import Listing, kept

THUMBNAIL = 16
"""Side of a thumbnail in pixels."""
SMALLEST = 32
"""Shorter side in pixels below which pictures are too alike to be compared by their looks (digits of 8 by 8)."""
_WHOLE = 1_000_000  # pixels up to which a picture is decoded whole, so that equal pixels are found in unequal files
_REPORT_EVERY = 64
_TRAITS = {
    "animated": "pictures have several frames; the first is used.",
    "transparent": "pictures have transparent parts; these are taken as white.",
}


@dataclass(frozen=True, kw_only=True)
class Looks:
    """What one reading of N pictures tells."""

    digests: tuple[str, ...]
    """SHA-256 of the file, or of shape and pixels of an array."""
    contents: tuple[str, ...]
    """Digest of the upright pixels; of the file for very large pictures."""
    thumbnails: np.ndarray
    """uint8 (N, T, T), grey."""
    sides: np.ndarray
    """int32 (N, 2): height and width in pixels as decoded for the thumbnail."""


@dataclass(frozen=True)
class _Look:
    digest: str
    content: str
    thumbnail: np.ndarray
    side: tuple[int, int]
    traits: tuple[str, ...] = ()


def inspect(listing: Listing, run: Run | None = None) -> tuple[Listing, Looks]:
    """Read all pictures. Those that cannot be read leave the listing and are named in its warnings.

    Raises `DataError` when none can be read.
    """
    looks = _all_looks(listing, run or Run())
    bad = [place for place, look in enumerate(looks) if isinstance(look, str)]
    good = [(place, look) for place, look in enumerate(looks) if isinstance(look, _Look)]
    if not good:
        raise DataError(f"None of the {len(looks)} pictures can be read. The first: {looks[bad[0]]}")
    warnings = _warnings(listing, looks, bad)
    seen = Looks(
        digests=tuple(look.digest for _, look in good),
        contents=tuple(look.content for _, look in good),
        thumbnails=np.stack([look.thumbnail for _, look in good]),
        sides=np.array([look.side for _, look in good], np.int32),
    )
    return kept(listing, [place for place, _ in good], *warnings), seen


def digests_of(items: Sequence[Any]) -> tuple[str, ...]:
    """The digests by which a Task knows these pictures (`Examples.digests`).

    Raises `DataError` naming the first that cannot be read.
    """
    with ThreadPoolExecutor(default_workers(), "reading") as pool:
        looks = list(pool.map(_looked, items))
    bad = [look for look in looks if isinstance(look, str)]
    if bad:
        raise DataError(f"{len(bad)} of {len(looks)} pictures cannot be read. The first: {bad[0]}")
    return tuple(look.digest for look in looks if isinstance(look, _Look))


def _warnings(listing: Listing, looks: Sequence[_Look | str], bad: list[int]) -> list[DataWarning]:
    warnings = []
    if bad:
        warnings.append(
            DataWarning(
                code="unreadable",
                message=f"{len(bad)} of {len(looks)} pictures cannot be read and"
                f" {'is' if len(bad) == 1 else 'are'} left out.",
                places=tuple(_placed(listing.names[place], str(looks[place])) for place in bad),
            )
        )
    for trait, message in _TRAITS.items():
        places = [
            n for n, look in zip(listing.names, looks, strict=True) if isinstance(look, _Look) and trait in look.traits
        ]
        if places:
            text = f"{len(places)} {message}"
            warnings.append(DataWarning(code=trait, message=text, places=tuple(places), severity="note"))
    return warnings


def _placed(name: str, reason: str) -> str:
    return reason if reason.startswith(name) else f"{name}: {reason}"


def _all_looks(listing: Listing, run: Run) -> list[_Look | str]:
    total = len(listing)
    looks: list[_Look | str] = []
    with ThreadPoolExecutor(default_workers(), "reading") as pool:
        for look in pool.map(_looked, listing.items):
            looks.append(look)
            if len(looks) % _REPORT_EVERY == 0 or len(looks) == total:
                run.watch({"stage": "reading pictures", "done": len(looks), "total": total})
    return looks


def _looked(item: Any) -> _Look | str:
    """The look of one picture, or why it cannot be read."""
    try:
        return _of_array(item) if isinstance(item, np.ndarray) and item.dtype == np.uint8 else _of_item(item)
    except (DataError, OSError) as problem:
        return str(problem)


def _of_item(item: Any) -> _Look:
    if isinstance(item, str) and not item:
        raise DataError("there is no path")
    if isinstance(item, str | Path):
        data: Any = _file(Path(item))
    else:
        data = item.read() if isinstance(item, Stored) else item
    large = False
    traits: tuple[str, ...] = ()
    try:
        if isinstance(data, bytes):
            image, large, traits = examined(data, _WHOLE, 4 * THUMBNAIL)
        else:
            image = opened(data)
    except DataError as problem:
        reason = str(problem).removeprefix("the picture cannot be read as a picture: ")
        raise DataError(f"{item if isinstance(item, str | Path) else 'the picture'}: {reason}") from None
    content = _digest(np.asarray(image)) if not large else digests.of_bytes(data)
    digest = digests.of_bytes(data) if isinstance(data, bytes) else content
    return _Look(digest, content, _thumbnail(image), (image.height, image.width), traits)


def _of_array(pixels: np.ndarray) -> _Look:
    digest = _digest(pixels)
    grey = pixels[:, :, 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels
    image = Image.fromarray(grey) if grey.ndim == 2 else opened(pixels)
    return _Look(digest, digest, _thumbnail(image), (image.height, image.width))


def _file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: there is no such file") from None


def _digest(pixels: np.ndarray) -> str:
    """SHA-256 over shape and pixels."""
    return hashlib.sha256(str(pixels.shape).encode() + np.ascontiguousarray(pixels).tobytes()).hexdigest()


def _thumbnail(image: Image.Image) -> np.ndarray:
    """Grey (T, T); black for pictures so small that looks prove nothing."""
    if min(image.size) < SMALLEST:
        return np.zeros((THUMBNAIL, THUMBNAIL), np.uint8)
    return np.asarray(image.convert("L").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX, reducing_gap=2.0))
