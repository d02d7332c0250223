"""Sounds from files (WAV, FLAC, OGG, MP3, AIFF, by libsndfile) to samples, and reading every sound once.

Several channels become their mean. Another rate than the wanted one is resampled by a polyphase filter (SciPy).
Letters: N examples, S samples, c channels.
"""

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import soundfile

from transfuse.core import digests
from transfuse.core.errors import DataError
from transfuse.core.nouns import DataWarning
from transfuse.core.runs import Run
from transfuse.tasks.images.loading import default_workers
from transfuse.tasks.listing import Listing, kept

_SILENT = 1e-5  # of full scale: below the last bit of 16
_STEP = 1000  # largest denominator of a resampling: a rate is then exact to one in a million
_BLOCK = 1 << 20  # samples that are looked at together, so that an hour needs as little memory as a second
_LONG = 60.0  # seconds from which on a sound is named: sources look at a few
_REPORT_EVERY = 64
_UNKNOWN = 0x7FFF0000  # lengths from here on are written by who does not know them yet

Item = str | Path | bytes | tuple[np.ndarray, int]
"""What can be read: a path, an encoded sound in memory, or samples (S,) or (S, c) with their rate."""


@dataclass(frozen=True, kw_only=True)
class Heard:
    """What one reading of N sounds tells."""

    digests: tuple[str, ...]
    """SHA-256 of the file, or of the samples."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a sound says of itself."""

    rate: int
    """Samples a second."""
    seconds: float


@dataclass(frozen=True)
class _Look:
    digest: str
    traits: tuple[str, ...] = ()


def header(item: Item) -> Header:
    """Rate and length, without reading the samples. Raises `DataError` when it is no sound."""
    if isinstance(item, tuple):
        return Header(rate=item[1], seconds=len(item[0]) / item[1])
    with _opened(item) as file:
        return Header(rate=file.samplerate, seconds=file.frames / file.samplerate)


def samples(item: Item, rate: int, seconds: float) -> np.ndarray:
    """The sound at `rate` samples a second, float32 (S,); of longer ones than `seconds` the middle.

    Raises `DataError` naming a sound that cannot be read, is empty or not finite.
    """
    if isinstance(item, tuple):
        given, own = np.asarray(item[0], np.float32), int(item[1])
        start, count = _middle(len(given), own, seconds)
        wave_S, name = _mono(given[start : start + count]), "the sound"
    else:
        name = _named(item)
        with _opened(item) as file:
            own = file.samplerate
            start, count = _middle(file.frames, own, seconds)
            wave_S = _mono(_read(file, start, count, name))
    if not len(wave_S):
        raise DataError(f"{name} must hold at least one sample, but is empty.")
    if not np.isfinite(wave_S).all():
        raise DataError(f"{name} must hold finite samples, but some are NaN or infinite.")
    return resampled(wave_S, own, rate)


def resampled(wave_S: np.ndarray, given: int, wanted: int) -> np.ndarray:
    """The samples at another rate, float32."""
    if given == wanted:
        return wave_S
    from scipy.signal import resample_poly

    ratio = Fraction(wanted, given).limit_denominator(_STEP)
    return resample_poly(wave_S, ratio.numerator, ratio.denominator).astype(np.float32)


def read_sounds(listing: Listing, run: Run | None = None) -> tuple[Listing, Heard]:
    """Read all sounds to their end. Those that cannot be read leave the listing and are named in its warnings.

    Raises `DataError` when none is left.
    """
    looks = _all_looks(listing, run or Run())
    bad = {place: look for place, look in enumerate(looks) if isinstance(look, str)}
    good = [place for place in range(len(looks)) if place not in bad]
    if not good:
        raise DataError(f"None of the {len(looks)} sounds can be read. The first: {bad[0]}")
    heard = Heard(digests=tuple(look.digest for look in looks if isinstance(look, _Look)))
    return kept(listing, good, *_warnings(listing, looks, bad)), heard


def digests_of(items: Sequence[Item]) -> tuple[str, ...]:
    """The digests by which a Task knows these sounds. Raises `DataError` naming the first that cannot be read."""
    return tuple(_digest(item) for item in items)


def looked(item: Item) -> tuple[str, tuple[str, ...]]:
    """Digest and traits (`silent`, `several-channels`, `very-long`) of a sound, read to its end.

    Raises `DataError` naming a sound that cannot be read.
    """
    if isinstance(item, tuple):
        waves: Iterator[np.ndarray] = iter([np.asarray(item[0], np.float32)])
        return _digest(item), _traits(waves, Header(rate=item[1], seconds=len(item[0]) / item[1]), "the sound")
    name = _named(item)
    with _opened(item) as file:
        about = Header(rate=file.samplerate, seconds=file.frames / file.samplerate)
        traits = _traits(_blocks(file, name), about, name)
    return _digest(item), traits


def _traits(waves: Iterator[np.ndarray], about: Header, name: str) -> tuple[str, ...]:
    loudest, count, several = 0.0, 0, False
    for wave in waves:
        if not np.isfinite(wave).all():
            raise DataError(f"{name} must hold finite samples, but some are NaN or infinite.")
        loudest, count = max(loudest, float(np.abs(_mono(wave)).max(initial=0.0))), count + len(wave)
        several = several or (wave.ndim == 2 and wave.shape[1] > 1)
    if not count:
        raise DataError(f"{name} must hold at least one sample, but is empty.")
    found = {"silent": loudest < _SILENT, "several-channels": several, "very-long": about.seconds > _LONG}
    return tuple(trait for trait, true in found.items() if true)


def _blocks(file: soundfile.SoundFile, name: str) -> Iterator[np.ndarray]:
    start = 0
    while start < file.frames:
        count = min(_BLOCK, file.frames - start)
        yield _read(file, start, count, name)
        start += count


def _read(file: soundfile.SoundFile, start: int, count: int, name: str) -> np.ndarray:
    """float32 (S, c). Raises `DataError` when the file ends before."""
    if file.tell() != start:
        file.seek(start)
    wave = file.read(count, dtype="float32", always_2d=True)
    if len(wave) < count:
        raise DataError(f"{name} must hold {file.frames} samples, as it says, but ends after {start + len(wave)}.")
    return wave


def _middle(count: int, rate: int, seconds: float) -> tuple[int, int]:
    """Where the part begins that is kept, and how long it is, in samples."""
    wanted = min(count, max(1, round(seconds * rate)))
    return (count - wanted) // 2, wanted


def _mono(wave: np.ndarray) -> np.ndarray:
    return wave.mean(axis=1, dtype=np.float32) if wave.ndim == 2 else wave


@contextmanager
def _opened(item: str | Path | bytes) -> Iterator[soundfile.SoundFile]:
    """The file, ready to be read; whatever is wrong with it becomes a `DataError` that names it."""
    name = _named(item)
    try:
        _require_whole(item, name)
        with soundfile.SoundFile(io.BytesIO(item) if isinstance(item, bytes) else Path(item)) as file:
            yield file
    except (soundfile.LibsndfileError, RuntimeError, OSError, TypeError, ValueError) as problem:
        raise DataError(f"{name} cannot be read as a sound: {_reason(item, problem)}.") from None


def _require_whole(item: str | Path | bytes, name: str) -> None:
    """Raise `DataError` for a WAV that is shorter than it says, which libsndfile reads without a word."""
    if isinstance(item, bytes):
        head, size = item[:8], len(item)
    else:
        with Path(item).open("rb") as file:
            head, size = file.read(8), os.fstat(file.fileno()).st_size
    told = int.from_bytes(head[4:], "little")
    if head[:4] == b"RIFF" and size < told + 8 and told < _UNKNOWN:
        raise DataError(f"{name} must hold {told + 8} bytes, as it says, but ends after {size}. Fetch it again.")


def _reason(item: str | Path | bytes, problem: Exception) -> str:
    if not isinstance(item, bytes):
        path = Path(item)
        if not path.exists():
            return "there is no such file"
        if path.is_dir():
            return "it is a folder"
        if not path.stat().st_size:
            return "the file is empty"
    text = getattr(problem, "error_string", "") or str(problem)
    return text.strip().rstrip(".") or type(problem).__name__


def _named(item: str | Path | bytes) -> str:
    return "the sound" if isinstance(item, bytes) else str(item)


def _digest(item: Item) -> str:
    if isinstance(item, tuple):
        wave = np.ascontiguousarray(item[0])
        return hashlib.sha256(f"{wave.shape} {wave.dtype} {item[1]}".encode() + wave.tobytes()).hexdigest()
    if isinstance(item, bytes):
        return digests.of_bytes(item)
    try:
        return digests.of_file(Path(item))
    except OSError as problem:
        raise DataError(f"{item} cannot be read: {problem.strerror}") from None


def _all_looks(listing: Listing, run: Run) -> list[_Look | str]:
    looks: list[_Look | str] = []
    with ThreadPoolExecutor(default_workers(), "reading") as pool:
        for look in pool.map(_look, listing.items):
            looks.append(look)
            if len(looks) % _REPORT_EVERY == 0 or len(looks) == len(listing):
                run.watch({"stage": "reading sounds", "done": len(looks), "total": len(listing)})
    return looks


def _look(item: Item) -> _Look | str:
    """The look of one sound, or why it cannot be read."""
    if isinstance(item, str) and not item:
        return "there is no path"
    try:
        return _Look(*looked(item))
    except DataError as problem:
        return str(problem)


_SAID = {
    "silent": (
        "sound is silent: nothing can be learnt from it.",
        "sounds are silent: nothing can be learnt from them.",
    ),
    "several-channels": (
        "sound has several channels; their mean is used.",
        "sounds have several channels; their mean is used.",
    ),
    "very-long": (
        f"sound is longer than {_LONG:.0f} seconds; sources look at the middle.",
        f"sounds are longer than {_LONG:.0f} seconds; sources look at the middle.",
    ),
}


def _warnings(listing: Listing, looks: Sequence[_Look | str], bad: dict[int, str]) -> list[DataWarning]:
    warnings = []
    if bad:
        message = f"{len(bad)} of {len(looks)} sounds cannot be read and {'is' if len(bad) == 1 else 'are'} left out."
        names = listing.names
        places = tuple(why if why.startswith(names[p]) else f"{names[p]}: {why}" for p, why in bad.items())
        warnings.append(DataWarning(code="unreadable", message=message, places=places))
    for trait, (one, more) in _SAID.items():
        places = tuple(
            name
            for name, look in zip(listing.names, looks, strict=True)
            if isinstance(look, _Look) and trait in look.traits
        )
        if places:
            severity = "warning" if trait == "silent" else "note"
            text = f"{len(places)} {one if len(places) == 1 else more}"
            warnings.append(DataWarning(code=trait, message=text, places=places, severity=severity))  # type: ignore[arg-type]
    return warnings
