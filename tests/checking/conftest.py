"""Small tasks with planted problems: pictures of three colours, some of them under a wrong name.

Letters: N examples, C classes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import transfuse as tr
from transfuse.core.nouns import Source, Task

COLOURS = {"cat": (200, 60, 60), "dog": (60, 200, 60), "eel": (60, 60, 200)}
EACH = 20
GOOD = ("wonderful", "bright", "moving", "fresh", "warm", "clever")
BAD = ("dreadful", "dull", "tiresome", "stale", "cold", "clumsy")
NEUTRAL = ("film", "actor", "scene", "ending", "music", "story", "camera", "evening", "cinema", "dialogue", "plot")


@dataclass(frozen=True)
class Planted:
    """A folder of class folders with what is wrong in it."""

    folder: Path
    wrong: Mapping[str, str]
    """True class of the pictures that lie under another name, by file name."""


def picture(colour: tuple[int, int, int], seed: int) -> Image.Image:
    """A noisy picture of one colour."""
    noise = np.random.default_rng(seed).normal(0, 40, (24, 24, 3))
    return Image.fromarray(np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8))


def write_planted(folder: Path) -> Planted:
    """Train and test folders; four training pictures lie in a wrong class, two are copies."""
    wrong = {"cat3.png": "dog", "dog5.png": "eel", "eel7.png": "cat", "eel9.png": "dog"}
    for split, start in (("train", 0), ("test", 1000)):
        for offset, (name, colour) in enumerate(COLOURS.items()):
            place = folder / split / name
            place.mkdir(parents=True)
            for number in range(EACH if split == "train" else 6):
                file = f"{name}{number}.png" if split == "train" else f"{name}t{number}.png"
                shown = COLOURS[wrong[file]] if file in wrong else colour
                picture(shown, start + 100 * offset + number).save(place / file)
    picture(COLOURS["cat"], 0).save(folder / "test" / "cat" / "copied.png")  # train/cat/cat0.png
    picture(COLOURS["dog"], 101).save(folder / "train" / "eel" / "doubted.png")  # train/dog/dog1.png
    return Planted(folder, wrong)


@pytest.fixture(scope="session")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """Not to be changed."""
    return write_planted(tmp_path_factory.mktemp("planted") / "animals")


@pytest.fixture(scope="session")
def task(planted: Planted) -> Task:
    """The planted folder, opened."""
    return tr.task(planted.folder)


@pytest.fixture(scope="session")
def source() -> Source:
    """Random filters, which tell colours well."""
    return tr.source("random:timm:test_resnet", size=32)


@pytest.fixture(scope="session")
def texts() -> Task:
    """Reviews of two kinds in memory, one of them damaged, one twice, one under the wrong name."""
    generator = np.random.default_rng(0)

    def reviews(words: tuple[str, ...]) -> list[str]:
        return [" ".join([*generator.choice(words, 6), *generator.choice(NEUTRAL, 6)]) for _ in range(60)]

    good, bad = reviews(GOOD), reviews(BAD)
    labels = ["good"] * 60 + ["bad"] * 60
    labels[4] = "bad"
    good[7] += " f\u00c3\u00bclm"
    return tr.task((good + bad, labels), valid=0.2, test=0.0)
