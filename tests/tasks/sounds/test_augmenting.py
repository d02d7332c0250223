"""Changes of spectrograms: keyed, bounded, never mirrored."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from transfuse.tasks.images.augmenting import NONE, SOUNDS, Augmentation
from transfuse.tasks.sounds.augmenting import augment_sounds

GREY = torch.rand(6, 20, 30, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.5


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(0, 1 << 62), min_size=6, max_size=6), st.sampled_from(sorted(SOUNDS)))
def test_a_sound_depends_on_itself_and_its_key_alone(keys: list[int], name: str) -> None:
    together = augment_sounds(GREY, keys, SOUNDS[name])
    alone = torch.cat(
        [augment_sounds(GREY[place : place + 1], keys[place : place + 1], SOUNDS[name]) for place in range(6)]
    )
    torch.testing.assert_close(together, alone)
    assert together.shape == GREY.shape


def test_masks_are_whole_bands_and_times_of_the_mean() -> None:
    masked = Augmentation(mask_pitch=0.4, mask_time=0.4)
    before = GREY.clone()
    for grey, found in zip(GREY, augment_sounds(GREY, range(6), masked), strict=True):
        changed = found != grey
        rows, columns = changed.float().mean(1) > 0.99, changed.float().mean(0) > 0.99
        assert not changed[~rows][:, ~columns].any() and rows.sum() <= 8 and columns.sum() <= 12
        torch.testing.assert_close(found[changed], grey.mean().expand(int(changed.sum())))
    assert torch.equal(GREY, before)
    assert augment_sounds(GREY, range(6), NONE) is GREY


def test_a_shift_moves_in_time_and_leaves_silence() -> None:
    found = augment_sounds(GREY, range(6), Augmentation(shift=0.5))
    for grey, moved in zip(GREY, found, strict=True):
        silent = (moved == 0).all(0)
        steps = int(silent.sum())
        later = bool(silent[0])
        kept = grey[:, : 30 - steps] if later else grey[:, steps:]
        torch.testing.assert_close(moved[:, ~silent], kept)  # the same order: neither mirrored nor upside down
    assert len({int((moved == 0).all(0).sum()) for moved in found}) > 2
