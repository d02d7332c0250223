"""The contract of every kind of noise and damage: shape, range, keyed, more with each severity, something happens."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from transfuse.core.errors import UnknownName
from transfuse.core.nouns import Column, TablePreprocessing
from transfuse.perturbing import table
from transfuse.perturbing.table import PERTURBATIONS, SEVERITIES

TEXT = "The quick brown fox jumps over the lazy dog, and then it sleeps a while in the warm sun of May."
COLUMNS = TablePreprocessing(
    columns=(
        Column(name="age", role="numeric", mean=40, std=10),
        Column(name="colour", role="categorical", values=("red", "green", "blue"), shares=(0.5, 0.3, 0.2)),
        Column(name="gone", role="numeric", absent=True),
        Column(name="day", role="date"),
        Column(name="yes", role="boolean"),
    )
)


def picture(seed: int) -> np.ndarray:
    """A smooth colourful picture with a sharp edge, of no light and full light too."""
    y, x = np.mgrid[:40, :52] / 40
    waves = [np.sin(5 * x + seed), np.cos(4 * y + 2 * x), (x + y > 1) * 1.5 - 0.7]
    return (255 * (0.5 + 0.5 * np.stack(waves, 2)).clip(0, 1)).astype(np.uint8)


def sound(seed: int) -> np.ndarray:
    time = np.arange(4000) / 8000
    return (0.6 * np.sin(2 * np.pi * (400 + 50 * seed) * time) * np.hanning(4000)).astype(np.float32)


def rows(count: int = 300) -> np.ndarray:
    """Encoded rows: age, colour, an absent column, a day's three numbers, a truth value."""
    random = np.random.default_rng(0)
    parts = [random.normal(size=count), random.integers(-1, 3, count), np.full(count, np.nan)]
    parts += [random.normal(size=count), random.random(count), random.random(count), random.integers(0, 2, count)]
    return np.stack(parts, 1).astype(np.float32)


def words_apart(one: str, other: str) -> float:
    """Levenshtein's distance."""
    row = list(range(len(other) + 1))
    for i, a in enumerate(one, 1):
        row, before = [i], row
        for j, b in enumerate(other, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (a != b)))
    return row[-1]


def numbers_apart(one: Any, other: Any) -> float:
    return float(np.abs(np.asarray(one, float) - np.asarray(other, float)).mean())


CASES = [(modality, name) for modality in ("image", "sound", "text") for name in PERTURBATIONS[modality]]
MADE: dict[str, Callable[..., Any]] = {"image": table.picture, "sound": table.sound, "text": table.text}
GIVEN: dict[str, Callable[[int], Any]] = {"image": picture, "sound": sound, "text": lambda seed: TEXT + " Yes." * seed}
APART: dict[str, Callable[[Any, Any], float]] = {"image": numbers_apart, "sound": numbers_apart, "text": words_apart}


@pytest.mark.parametrize(("modality", "name"), CASES)
def test_contract(modality: str, name: str):
    made, given, apart = MADE[modality], GIVEN[modality], APART[modality]
    distances = []
    for severity in SEVERITIES:
        found = [made(given(seed), name, severity, seed) for seed in range(4)]
        again = [made(given(seed), name, severity, seed) for seed in reversed(range(4))][::-1]
        assert all(np.array_equal(a, b) for a, b in zip(found, again, strict=True))
        if modality != "text":
            for one in found:
                assert one.shape == given(0).shape and one.dtype == given(0).dtype
                assert np.isfinite(one).all() and np.abs(one.astype(float)).max() <= (255 if modality == "image" else 1)
        distances.append(np.mean([apart(given(seed), one) for seed, one in enumerate(found)]))
    assert distances[0] > 0 and all(b >= a for a, b in itertools.pairwise(distances)), distances


@pytest.mark.parametrize("name", ["Gaussian noise", "shot noise", "impulse noise", "motion blur", "elastic"])
def test_noise_is_each_examples_own(name: str):
    assert not np.array_equal(table.picture(picture(0), name, 3, 1), table.picture(picture(0), name, 3, 2))


@pytest.mark.parametrize("name", PERTURBATIONS["image"])
@pytest.mark.parametrize("shape", [(8, 8, 1), (5, 30, 3), (1, 1, 3)])
def test_small_and_grey_pictures_are_changed_too(name: str, shape: tuple[int, ...]):
    grey = np.full(shape, 200, np.uint8)
    assert table.picture(grey, name, 5, 0).shape == shape


@pytest.mark.parametrize(("modality", "empty"), [("text", ""), ("text", "  "), ("text", "a"), ("sound", np.zeros(0))])
def test_nothing_much_can_be_done_to_nothing(modality: str, empty: Any):
    for name in PERTURBATIONS[modality]:
        found = MADE[modality](empty, name, 5, 0)
        assert len(found) <= 3


def test_words_and_spaces():
    """Spaces stay, a share of the words is hit, letters are the neighbours on the keyboard."""
    text = "one  two\nthree four five six seven eight nine ten"
    for name in ("swapped letters", "dropped letters", "inserted letters", "wrong keys"):
        found = table.text(text, name, 4, 3)
        assert found.split() != text.split() and [c for c in found if c.isspace()] == [c for c in text if c.isspace()]
        differ = sum(a != b for a, b in zip(found.split(), text.split(), strict=True))
        assert differ <= 4
    assert len(table.text(text, "dropped words", 5, 0).split()) == 5
    assert len(table.text(text, "doubled words", 5, 0).split()) == 15
    assert sorted(table.text(text, "swapped words", 5, 0).split()) == sorted(text.split())
    assert table.text("QQQ", "wrong keys", 1, 0).upper().count("W") == 1


def test_numbers_move_within_their_bound():
    before = rows()
    for severity, most in zip(SEVERITIES, (0.05, 0.1, 0.2, 0.35, 0.5), strict=True):
        after = table.rows(before, COLUMNS, "moved numbers", severity, range(300))
        moved = np.abs(after[:, 0] - before[:, 0])
        assert moved.max() <= most + 1e-6 and moved.max() > 0.9 * most
        np.testing.assert_array_equal(after[:, 1:], before[:, 1:])


def test_categories_become_others_as_often_as_they_are():
    before = np.repeat(rows()[:1], 6000, 0)
    before[:, 1], before[:, 6] = 2, 1
    after = table.rows(before, COLUMNS, "swapped categories", 5, range(6000))
    np.testing.assert_array_equal(np.delete(after, [1, 6], 1), np.delete(before, [1, 6], 1))
    share = np.bincount(after[:, 1].astype(int), minlength=3) / 6000
    np.testing.assert_allclose(share, [0.5 * 5 / 8, 0.5 * 3 / 8, 0.5], atol=0.03)
    assert after[:, 6].mean() == pytest.approx(0.5, abs=0.03)


def test_lost_cells_are_missing_in_all_their_numbers():
    before = rows()
    after = table.rows(before, COLUMNS, "lost cells", 5, range(300))
    lost = np.isnan(after)
    assert (lost[:, 3] == lost[:, 4]).all() and (lost[:, 3] == lost[:, 5]).all()
    assert lost[:, [0, 1, 3, 6]].mean() == pytest.approx(0.5, abs=0.05)
    np.testing.assert_array_equal(after[~lost], before[~lost])


@pytest.mark.parametrize("name", PERTURBATIONS["table"])
def test_a_row_depends_on_its_own_key_alone(name: str):
    before = rows()
    together = table.rows(before, COLUMNS, name, 4, range(300))
    alone = table.rows(before[17:19], COLUMNS, name, 4, [17, 18])
    np.testing.assert_array_equal(alone, together[17:19])
    hit = [np.nanmean((table.rows(before, COLUMNS, name, s, range(300)) != before)[:, [0, 1, 6]]) for s in SEVERITIES]
    assert hit == sorted(hit) and hit[0] > 0


def test_an_unknown_name_is_told():
    with pytest.raises(UnknownName, match="Did you mean 'JPEG'"):
        table.picture(picture(0), "JPG", 1, 0)
