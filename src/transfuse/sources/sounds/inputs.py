"""Sounds as a network of pictures takes them (see `inputs`): float32 (B, c, h, w), log-mel spectrograms, normalised.

Letters: B sounds, F bands, T frames, c channels, h w pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from transfuse.core.errors import DataError, UsageError
from transfuse.core.nouns import DataWarning, Preprocessing, SoundPreprocessing
from transfuse.core.provenance import plain
from transfuse.sources.images import preprocessing as pictures
from transfuse.sources.sounds.log_mel import log_mel
from transfuse.tasks.limits import Limits, is_folder
from transfuse.tasks.listing import SOUNDS
from transfuse.tasks.sounds import limiting, reading

_FRAMES = 2.0  # columns to a pixel, at most: more would be averaged away
_LENGTH = 0.95  # quantile of the training sounds' lengths that is looked at
_LONGEST, _SHORTEST = 10.0, 0.05  # seconds that are looked at
_RATES = (8_000, 32_000)  # least and most samples a second
_EVENT = 2.0  # seconds up to which sounds are taken for whole words or events, which may be stretched
_LOOKED_AT = 1000  # sounds whose headers are read


def suited(source_pictures: Preprocessing, items: Sequence[Any]) -> SoundPreprocessing:
    """How these sounds are shown to a source of pictures: their most frequent rate, and the length of most of them.

    Where nearly all last at most two seconds, each fills the picture: they are whole words or events, and how fast one
    is says little. Longer ones keep their speed.
    """
    step = max(1, len(items) // _LOOKED_AT)
    headers = [reading.header(item) for item in items[::step]]
    rates = sorted(one.rate for one in headers)
    rate = min(max(max(set(rates), key=lambda r: (rates.count(r), r)), _RATES[0]), _RATES[1])
    seconds = float(np.quantile([one.seconds for one in headers], _LENGTH))
    seconds = round(min(max(seconds, _SHORTEST), _LONGEST), 3)
    short = seconds <= _EVENT
    hop = 0.01 if short else max(0.01, round(seconds / (_FRAMES * source_pictures.size[1]), 3))
    return SoundPreprocessing(
        picture=source_pictures,
        rate=rate,
        seconds=_EVENT if short else seconds,
        fit="stretch" if short else "pad",
        hop=hop,
        bands=32 if rate < 16_000 else 64,
        known=source_pictures.known,
    )


def tensor_of(items: Sequence[Any], preprocessing: SoundPreprocessing) -> torch.Tensor:
    """float32 (B, c, h, w)."""
    return as_pictures(spectrograms(items, preprocessing), preprocessing)


def spectrograms(items: Sequence[Any], preprocessing: SoundPreprocessing) -> torch.Tensor:
    """Grey pictures float32 (B, h, w) in 0..1, high pitches on top. Raises `DataError` naming a sound."""
    found = torch.empty(len(items), *preprocessing.picture.size)
    for place, item in enumerate(items):
        mel_FT = torch.from_numpy(np.ascontiguousarray(_mel(item, preprocessing)[::-1]))
        resized = torch.nn.functional.interpolate(
            mel_FT[None, None], size=preprocessing.picture.size, mode="bilinear", align_corners=False, antialias=True
        )
        found[place] = resized[0, 0]
    return found


def as_pictures(grey_Bhw: torch.Tensor, preprocessing: SoundPreprocessing) -> torch.Tensor:
    """Spectrograms as the network takes pictures: all channels alike, mean and deviation taken off, channels last."""
    wanted = preprocessing.picture
    pixels_Bhwc = (grey_Bhw[..., None] * 255).expand(*grey_Bhw.shape, wanted.channels)
    return pictures.normalise(pixels_Bhwc, wanted)


def seen(item: Any, preprocessing: SoundPreprocessing) -> np.ndarray:
    """What the source sees of a sound, uint8 (h, w, 1)."""
    grey_hw = spectrograms([item], preprocessing)[0]
    return (grey_hw * 255).round().to(torch.uint8).numpy()[:, :, None]


def blank(preprocessing: SoundPreprocessing, count: int) -> torch.Tensor:
    """Silence."""
    return as_pictures(torch.zeros(count, *preprocessing.picture.size), preprocessing)


def blocks(items: Sequence[Any], preprocessing: SoundPreprocessing, batch_size: int) -> list[np.ndarray]:
    """Consecutive sounds: their pictures are of one size."""
    return [np.arange(start, min(start + batch_size, len(items))) for start in range(0, len(items), batch_size)]


def bytes_each(preprocessing: SoundPreprocessing) -> int:
    """As a grey picture in float32."""
    height, width = preprocessing.picture.size
    return 4 * height * width


def decoded(item: Any, preprocessing: SoundPreprocessing, limits: Limits) -> Any:
    """The item itself, when it can be read to its end."""
    if not isinstance(item, str | Path | bytes | tuple):
        raise DataError(f"A sound must be a path, an encoded file or (samples, rate), but is {type(item).__name__}.")
    limiting.require_within(item, limits)
    reading.looked(item)
    return item


def expanded(inputs: Any, limits: Limits | None) -> list[Any]:
    """One path, encoded file or (samples, rate), or a list of them; a folder stands for the sounds in it."""
    given = [inputs] if isinstance(inputs, str | Path | bytes | tuple) else list(inputs)
    items: list[Any] = []
    for item in given:
        if isinstance(item, str | Path) and is_folder(item):
            items += sorted(path for path in Path(item).rglob("*") if path.suffix.lower() in SOUNDS)
        else:
            items.append(item)
    if not items:
        raise DataError("There must be at least one sound to predict, but none was given or found.")
    return items


def traits(item: Any) -> dict[str, float]:
    """Seconds, and samples a second."""
    header = reading.header(item)
    return {"seconds": header.seconds, "samples a second": header.rate}


def digests_of(items: Sequence[Any]) -> tuple[str, ...]:
    """See `tasks.sound_reading.digests_of`."""
    return reading.digests_of(items)


def described(preprocessing: SoundPreprocessing) -> str:
    """Length, rate and the picture."""
    height, width = preprocessing.picture.size
    fit = "stretched over" if preprocessing.fit == "stretch" else "centred in"
    return (
        f"sounds of at most {preprocessing.seconds:g} seconds (the middle of longer ones) at {preprocessing.rate} Hz,"
        f" {preprocessing.bands} mel bands {fit} {height} by {width} pixels"
    )


def notes_on(items: Sequence[Any], preprocessing: SoundPreprocessing) -> tuple[DataWarning, ...]:
    """How many sounds are longer than what is looked at."""
    step = max(1, len(items) // _LOOKED_AT)
    lengths = np.array([reading.header(item).seconds for item in items[::step]])
    share = float((lengths > 1.001 * preprocessing.seconds).mean()) if len(lengths) else 0.0
    message = f"{share:.1%} of the sounds are longer than {preprocessing.seconds:g} seconds; their middle is looked at."
    return (DataWarning(code="sounds-cut", message=message, severity="note"),) if share else ()


def from_plain(document: Mapping[str, Any], folder: Path | None = None) -> SoundPreprocessing:
    """As a saved Model holds it; no files belong to it."""
    try:
        found = SoundPreprocessing(**{**document, "picture": pictures.from_plain(document["picture"])})
    except (TypeError, KeyError) as error:
        raise UsageError(f"A preprocessing of sounds must hold picture, rate and seconds ({error}).") from error
    return found


def written(preprocessing: SoundPreprocessing, folder: Path) -> dict[str, Any]:
    """The plain form; no files belong to it."""
    return plain(preprocessing)


def resized(preprocessing: SoundPreprocessing, wanted: Preprocessing) -> SoundPreprocessing:
    """The same sounds for another source of pictures."""
    return replace(preprocessing, picture=wanted)


def _mel(item: Any, preprocessing: SoundPreprocessing) -> np.ndarray:
    wave_S = reading.samples(item, preprocessing.rate, preprocessing.seconds)
    if preprocessing.fit == "pad":
        lacking = max(0, round(preprocessing.seconds * preprocessing.rate) - len(wave_S))
        wave_S = np.pad(wave_S, (lacking // 2, lacking - lacking // 2))
    return log_mel(
        wave_S,
        preprocessing.rate,
        window=preprocessing.window,
        hop=preprocessing.hop,
        bands=preprocessing.bands,
        low=preprocessing.low,
        decibels=preprocessing.decibels,
    )
