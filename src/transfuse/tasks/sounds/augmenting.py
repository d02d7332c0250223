"""Seeded changes of spectrograms that keep their meaning: a pure function of (example, key), a whole batch at once.

D. Park et al., "SpecAugment: a simple data augmentation method for automatic speech recognition", arXiv 1904.08779:
bands of pitches and stretches of time are masked, two of each; a shift in time stands in for time warping, which that
paper found to matter least. Masked is what is as loud as the sound's mean. Letters: B sounds, h pitches, w times.
"""

import torch

from transfuse.tasks.images.augmenting import NONE, Augmentation, Keys, uniform

_SHIFT, _PITCH, _TIME = 0, 1, 5
"""Which random number decides what: of each mask its extent and its place."""
_NUMBERS = 9
_MASKS = 2


def augment_sounds(grey_Bhw: torch.Tensor, keys_B: Keys, augmentation: Augmentation) -> torch.Tensor:
    """The spectrograms, changed: same shape. Sound b depends on itself and on `keys_B[b]` alone."""
    if augmentation == NONE or not len(grey_Bhw):
        return grey_Bhw
    changed_Bhw, random_BK = grey_Bhw.clone(), uniform(keys_B, _NUMBERS).tolist()
    height, width = grey_Bhw.shape[1:]
    for grey_hw, random in zip(changed_Bhw, random_BK, strict=True):
        mean = float(grey_hw.mean())
        _move(grey_hw, round((2 * random[_SHIFT] - 1) * augmentation.shift * width))
        for mask in range(_MASKS):
            first = _PITCH + 2 * mask
            grey_hw[_stretch(height, augmentation.mask_pitch, random[first], random[first + 1])] = mean
            first = _TIME + 2 * mask
            grey_hw[:, _stretch(width, augmentation.mask_time, random[first], random[first + 1])] = mean
    return changed_Bhw


def _move(grey_hw: torch.Tensor, steps: int) -> None:
    """Later by so many columns (earlier when negative), in place; silence takes the room."""
    if steps > 0:
        grey_hw[:, steps:] = grey_hw[:, :-steps].clone()
        grey_hw[:, :steps] = 0
    elif steps < 0:
        grey_hw[:, :steps] = grey_hw[:, -steps:].clone()
        grey_hw[:, steps:] = 0


def _stretch(size: int, share: float, extent: float, place: float) -> slice:
    """At most half of `share`, for there are two masks."""
    length = round(extent * share / _MASKS * size)
    start = round(place * (size - length))
    return slice(start, start + length)
