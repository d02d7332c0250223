import numpy as np
import pytest

import transfuse as tr
from transfuse.checking.drift import drift
from transfuse.checking.looks import looks_of
from transfuse.core.errors import UsageError


def pictures(count: int, light: float, seed: int, size: int = 32) -> list[np.ndarray]:
    generator = np.random.default_rng(seed)
    return [np.clip(generator.normal(light, 40, (size, size, 3)), 0, 255).astype(np.uint8) for _ in range(count)]


def task_of(items: list[np.ndarray], labels: list[str], name: str) -> tr.Task:
    return tr.task((items, labels), name=name)


@pytest.fixture(scope="module")
def here() -> tr.Task:
    return task_of(pictures(60, 110, 0), ["a", "b"] * 30, "here")


def test_the_same_world_is_not_told_apart(here, source):
    other = task_of(pictures(60, 110, 1), ["a", "b"] * 30, "there")
    report = drift(here, other, source=source)
    assert report.rows[0]["auc"]["low"] <= 0.5 and report.summary[0].startswith("No difference")
    assert len(report.summary) == 1


def test_another_world_is_told_apart_and_the_largest_difference_named_first(here, source):
    other = task_of(pictures(60, 160, 1), ["a"] * 50 + ["b"] * 10, "there")
    report = drift(here, other, source=source)
    assert report.rows[0]["auc"]["value"] > 0.99 and report.rows[0]["auc"]["n"] == 120
    assert "two worlds" in report.summary[0]
    assert report.summary[1].startswith("Brightness") and "higher in there" in report.summary[1]
    assert "'a' 50.0% > 83.3%" in report.summary[-1]
    assert report.sections[0].content["rows"][0]["statistic"] == "brightness"


def test_the_same_pictures_in_both_sets_do_not_make_a_difference(here, source):
    """A copy in another fold would be known by its features."""
    report = drift(here, here, source=source)
    assert report.rows[0]["auc"]["low"] <= 0.5


def test_a_difference_is_measured_in_standard_deviations(here, source):
    other = task_of(pictures(60, 160, 1, size=48), ["a", "b"] * 30, "there")
    rows = {row["statistic"]: row for row in drift(here, other, source=source).sections[0].content["rows"]}
    a, b = looks_of(pictures(60, 110, 0))["contrast"], looks_of(pictures(60, 160, 1, size=48))["contrast"]
    expected = (b.mean() - a.mean()) / np.sqrt((a.var() + b.var()) / 2)
    assert rows["contrast"]["standardised"] == pytest.approx(expected, abs=1e-3)
    assert rows["contrast"]["low"] < expected < rows["contrast"]["high"]
    assert rows["width"]["standardised"] == 99 and rows["shape"]["standardised"] == 0


def test_looks_are_what_they_are_called():
    square = np.zeros((20, 40, 3), np.uint8)
    square[5:15, 10:30] = 255
    found = looks_of([square])
    assert found["filled"][0] == pytest.approx(10 * 20 / 800)
    assert found["brightness"][0] == pytest.approx(10 * 20 / 800)
    assert (found["height"][0], found["width"][0], found["shape"][0], found["colour"][0]) == (20, 40, 2, 0)


def test_two_modalities_cannot_be_compared(here, texts):
    with pytest.raises(UsageError, match="Both sets must be of one modality"):
        drift(here, texts)


def reviews_of(words: tuple[str, ...], seed: int) -> tr.Task:
    generator = np.random.default_rng(seed)
    texts = [" ".join(generator.choice(words, 8)) + f" {number}" for number in range(90)]
    return tr.task((texts, ["a", "b"] * 45), modality="text")


@pytest.mark.parametrize("by", [None, "builtin:words"])
def test_texts_are_compared_by_the_words_of_both(by: str | None) -> None:
    words = ("film", "actor", "scene", "ending", "music", "story", "camera", "evening", "cinema", "plot")
    same = drift(reviews_of(words, 0), reviews_of(words, 1), source=by)
    assert same.rows[0]["auc"]["low"] <= 0.5 and same.summary[0].startswith("No difference")
    other = drift(reviews_of(words, 0), reviews_of((*words[:8], "goal", "match"), 1), source=by)
    assert other.rows[0]["auc"]["low"] > 0.7
