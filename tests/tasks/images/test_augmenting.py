from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from transfuse.core.errors import UsageError
from transfuse.core.nouns import Examples, Task
from transfuse.tasks.images.augmenting import NONE, STRONG, Augmentation, augment, candidates, suited, uniform

EVERYTHING = Augmentation(
    flip_horizontal=True, flip_vertical=True, shift=0.2, scale=0.2, rotate=20, colour=0.3, erase=0.7
)


def pictures(count: int = 6, size: tuple[int, int] = (17, 23), channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *size, channels), dtype=np.uint8)


def test_random_numbers_are_splitmix64() -> None:
    # first outputs of SplitMix64 from seed 0, as published with the reference implementation (prng.di.unimi.it)
    published = [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]
    expected = [(value >> 40) / 2**24 for value in published]
    assert uniform([0], 3)[0].tolist() == expected


@given(st.lists(st.integers(0, 2**63 - 1), min_size=1, max_size=6), st.integers(0, 5))
def test_a_picture_depends_on_itself_and_its_key_alone(keys: list[int], place: int) -> None:
    place = min(place, len(keys) - 1)
    batch = pictures(len(keys))
    alone = augment(batch[place : place + 1], keys[place : place + 1], EVERYTHING)
    np.testing.assert_array_equal(augment(batch, keys, EVERYTHING)[place], alone[0])


def test_another_key_gives_another_picture() -> None:
    one = np.repeat(pictures(1), 2, axis=0)
    first, second = augment(one, [1, 2], EVERYTHING)
    assert (first != second).any()


def test_nothing_asked_nothing_changed() -> None:
    assert (augment(pictures(), range(6), NONE) == pictures()).all()
    assert (augment(pictures(), range(6), Augmentation(shift=1e-9)) == pictures()).all()


@pytest.mark.parametrize(("name", "axis"), [("flip_horizontal", 1), ("flip_vertical", 0)])
def test_flips_mirror_about_every_second_picture(name: str, axis: int) -> None:
    batch = pictures(64)
    changed = augment(batch, range(64), Augmentation(**{name: True}))
    mirrored = [(new == np.flip(old, axis)).all() for old, new in zip(batch, changed, strict=True)]
    same = [(new == old).all() for old, new in zip(batch, changed, strict=True)]
    assert all(a or b for a, b in zip(mirrored, same, strict=True)) and 16 < sum(mirrored) < 48


def test_shift_moves_by_at_most_its_share_and_continues_the_edge() -> None:
    batch = np.zeros((50, 40, 40, 1), np.uint8)
    batch[:, 20, 20] = 255
    changed = augment(batch, range(50), Augmentation(shift=0.1)).astype(float)[..., 0]
    mass = changed.sum(axis=(1, 2))
    rows = (changed.sum(axis=2) * np.arange(40)).sum(axis=1) / mass
    columns = (changed.sum(axis=1) * np.arange(40)).sum(axis=1) / mass
    for centre in (rows, columns):
        assert (np.abs(centre - 20) <= 4.1).all() and np.abs(centre - 20).max() > 2
    assert augment(np.full((4, 9, 9, 3), 77, np.uint8), range(4), Augmentation(shift=0.5)).min() == 77


def test_rotation_keeps_shapes_in_wide_pictures() -> None:
    # a disc stays a disc: its extent in pixels is the same in both directions after any rotation
    rows, columns = np.mgrid[:40, :80]
    disc = (((rows - 19.5) ** 2 + (columns - 39.5) ** 2) < 144).astype(np.uint8)[None, :, :, None] * 255
    turned = augment(np.repeat(disc, 8, axis=0), range(8), Augmentation(rotate=90)) > 127
    for picture in turned[..., 0]:
        assert abs(picture.any(axis=1).sum() - 24) <= 1 and abs(picture.any(axis=0).sum() - 24) <= 1


def test_colour_changes_values_but_not_places() -> None:
    batch = np.zeros((16, 8, 8, 3), np.uint8)
    batch[:, :, 4:] = 160
    changed = augment(batch, range(16), Augmentation(colour=0.3))
    assert (changed[:, :, :4] == changed[:, :1, :1]).all() and (changed[:, :, 4:] == changed[:, :1, 4:5]).all()
    assert len(np.unique(changed[:, 0, 5], axis=0)) > 8


def test_erasing_paints_one_rectangle_in_the_given_share() -> None:
    batch = np.full((400, 32, 32, 3), 200, np.uint8)
    touched = (augment(batch, range(400), Augmentation(erase=0.4)) != 200).any(axis=3)
    shares = touched.mean(axis=(1, 2))
    assert 0.3 < (shares > 0).mean() < 0.5
    assert shares.max() <= 0.48**2
    one = touched[shares > 0][0]
    assert one.sum() == one.any(axis=1).sum() * one.any(axis=0).sum()


def test_tensors_and_floats_keep_their_type() -> None:
    batch = torch.from_numpy(pictures())
    assert torch.equal(
        augment(batch, range(6), EVERYTHING), torch.from_numpy(augment(pictures(), range(6), EVERYTHING))
    )
    floats = augment(batch.float(), range(6), EVERYTHING)
    assert floats.dtype == torch.float32 and floats.min() >= 0 and floats.max() <= 255
    assert augment(pictures(channels=1), range(6), EVERYTHING).shape == (6, 17, 23, 1)


def test_the_input_is_left_alone() -> None:
    batch = pictures()
    augment(batch, range(6), EVERYTHING)
    floats = torch.from_numpy(pictures()).float()
    augment(floats, range(6), EVERYTHING)
    assert (batch == pictures()).all() and (floats.numpy() == pictures()).all()


def test_one_key_for_each_picture() -> None:
    with pytest.raises(UsageError, match="one key for each"):
        augment(pictures(), [1], EVERYTHING)


def task(classes: Sequence[str], items: Sequence[Any], kind: Any = "single-label") -> Task:
    train = Examples(items=items, targets=np.zeros(len(items)), digests=("",) * len(items), names=("",) * len(items))
    return Task(name="t", kind=kind, classes=tuple(classes), splits={"train": train}, seed=0, digest="")


def coloured(size: int = 64) -> list[np.ndarray]:
    return list(pictures(3, (size, size)))


@pytest.mark.parametrize(
    ("classes", "items", "words"),
    [
        (["0", "1", "12"], coloured(), "numbers"),
        (["A", "b"], coloured(), "single characters"),
        (["left hand", "right hand"], coloured(), "side"),
        (["turn_left", "stop"], coloured(), "side"),
        (["shirt", "shoe"], list(pictures(3, (28, 28), 1)), "small and grey"),
    ],
)
def test_what_has_sides_is_not_mirrored(classes: list[str], items: list[np.ndarray], words: str) -> None:
    augmentation, reason = suited(task(classes, items))
    assert not augmentation.flip_horizontal and words in reason
    assert not any(value.flip_horizontal for value in candidates(task(classes, items)).values())


def test_photographs_are_mirrored_and_it_is_said() -> None:
    augmentation, reason = suited(task(["cat", "bright light"], coloured()))
    assert augmentation.flip_horizontal and "mirrored" in reason
    assert not suited(task(["angle"], coloured(), "regression"))[0].flip_horizontal


def test_candidates_run_from_none_to_strong() -> None:
    named = candidates(task(["cat", "dog"], coloured()))
    assert list(named) == ["none", "light", "standard", "strong"]
    assert named["none"] == NONE and named["strong"].erase == STRONG.erase
