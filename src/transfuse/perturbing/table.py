"""Every kind of noise and damage by what it is done to and by name, and how it is done to one example.

Random numbers are keyed by seed, perturbation and example, not by severity: a greater one is more of the same.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from transfuse.core.nouns import Modality, TablePreprocessing
from transfuse.core.randomness import key
from transfuse.core.tables import resolve

SEVERITIES = (1, 2, 3, 4, 5)

PERTURBATIONS: Mapping[Modality, Mapping[str, str]] = {
    "image": {
        "Gaussian noise": "transfuse.perturbing.pictures:gaussian_noise",
        "shot noise": "transfuse.perturbing.pictures:shot_noise",
        "impulse noise": "transfuse.perturbing.pictures:impulse_noise",
        "Gaussian blur": "transfuse.perturbing.pictures:gaussian_blur",
        "motion blur": "transfuse.perturbing.pictures:motion_blur",
        "zoom blur": "transfuse.perturbing.pictures:zoom_blur",
        "brightness": "transfuse.perturbing.pictures:brightness",
        "contrast": "transfuse.perturbing.pictures:contrast",
        "elastic": "transfuse.perturbing.pictures:elastic",
        "pixelate": "transfuse.perturbing.pictures:pixelate",
        "JPEG": "transfuse.perturbing.pictures:jpeg",
    },
    "sound": {
        "noise": "transfuse.perturbing.sounds:noise",
        "clipping": "transfuse.perturbing.sounds:clipping",
        "quiet": "transfuse.perturbing.sounds:quiet",
        "gaps": "transfuse.perturbing.sounds:gaps",
        "muffled": "transfuse.perturbing.sounds:muffled",
        "coarse": "transfuse.perturbing.sounds:coarse",
    },
    "text": {
        "swapped letters": "transfuse.perturbing.texts:swapped_letters",
        "dropped letters": "transfuse.perturbing.texts:dropped_letters",
        "inserted letters": "transfuse.perturbing.texts:inserted_letters",
        "wrong keys": "transfuse.perturbing.texts:wrong_keys",
        "dropped words": "transfuse.perturbing.texts:dropped_words",
        "doubled words": "transfuse.perturbing.texts:doubled_words",
        "swapped words": "transfuse.perturbing.texts:swapped_words",
    },
    "table": {
        "moved numbers": "transfuse.perturbing.rows:numbers",
        "swapped categories": "transfuse.perturbing.rows:categories",
        "lost cells": "transfuse.perturbing.rows:lost",
    },
}


def picture(pixels_hwc: np.ndarray, name: str, severity: int, own: int) -> np.ndarray:
    """A picture, uint8 (h, w, c), changed; `own` is the example's key."""
    changed = resolve(PERTURBATIONS["image"], name, "perturbation of pictures")
    found_hwc = changed(pixels_hwc / 255.0, severity, np.random.default_rng(key(own, name)))
    return (found_hwc.clip(0, 1) * 255).round().astype(np.uint8)


def sound(wave_S: np.ndarray, name: str, severity: int, own: int) -> np.ndarray:
    """A sound's samples, float32 (S,) in -1..1, changed."""
    changed = resolve(PERTURBATIONS["sound"], name, "perturbation of sounds")
    found_S = changed(wave_S, severity, np.random.default_rng(key(own, name))) if len(wave_S) else wave_S
    return found_S.clip(-1, 1).astype(np.float32)


def text(words: str, name: str, severity: int, own: int) -> str:
    """A text, changed."""
    changed = resolve(PERTURBATIONS["text"], name, "perturbation of texts")
    found: Any = changed(words, severity, np.random.default_rng(key(own, name)))
    return str(found)


def rows(
    x_BK: np.ndarray, preprocessing: TablePreprocessing, name: str, severity: int, own_B: Sequence[int]
) -> np.ndarray:
    """Encoded rows, float32 (B, K), changed; one key a row."""
    changed = resolve(PERTURBATIONS["table"], name, "perturbation of rows")
    found: Any = changed(x_BK, preprocessing, severity, [key(own, name) for own in own_B])
    return np.asarray(found, np.float32)
