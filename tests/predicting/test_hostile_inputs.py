"""Every hostile input gets a reason, quickly and in little memory, and the good one beside it gets its answer."""

import resource
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.predicting import hostile

import transfuse as tr
from transfuse.core.nouns import Model
from transfuse.tasks.limits import Limits
from transfuse.tasks.tables.opening import open_table

MEMORY = 300  # MiB: of all inputs of a kind after each other, the largest file being 10 MB


def peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def require_reasons(model: Model, bad: list, good: object) -> list[dict]:
    """All of them at once, the good one in the middle."""
    before, started = peak(), time.process_time()
    answers = model.predict([*bad[: len(bad) // 2], good, *bad[len(bad) // 2 :]])
    assert peak() - before < MEMORY and time.process_time() - started < 20
    answered = [answer for answer in answers if not answer["rejected"]]
    assert len(answered) == 1 and "class" in answered[0], [a["input"] for a in answered]
    refused = [answer for answer in answers if answer["rejected"]]
    assert all(a["reason"] and not a.keys() & {"class", "confidence", "probabilities"} for a in refused)
    assert len(refused) >= len(bad)
    return refused


def test_pictures(colour_model: Model, tmp_path: Path, pictures):
    refused = require_reasons(colour_model, hostile.pictures(tmp_path / "bad"), pictures[0])
    reasons = {Path(answer["input"]).name: answer["reason"] for answer in refused}
    assert "144,000,000" in reasons["bomb_real.png"] and "decompression bomb" in reasons["bomb.png"]
    assert "is a device" in reasons["zero.png"] and "is a pipe" in reasons["pipe.png"]
    assert "more than 1,000" in reasons["frames.gif"] and "268,402,689" in reasons["bomb.webp"]


def test_a_limit_that_the_user_raises_is_raised(colour_model: Model, tmp_path: Path):
    Image.new("RGB", (60, 50)).save(tmp_path / "a.png")
    (refused,) = colour_model.predict(tmp_path / "a.png", limits=Limits(pixels=2999))
    assert refused["rejected"] and "at most 2,999 pixels, but has 3,000" in refused["reason"]
    assert not colour_model.predict(tmp_path / "a.png", limits=Limits(pixels=3000))[0]["rejected"]


def test_many_large_pictures_never_lie_in_memory_together(colour_model: Model, tmp_path: Path):
    path = tmp_path / "a.png"
    Image.new("RGB", (3000, 3000), (220, 20, 20)).save(path)  # 27 MB each
    colour_model.predict([path])
    before = peak()
    assert [answer["class"] for answer in colour_model.predict([path] * 9)] == ["red"] * 9
    assert peak() - before < 200


@pytest.fixture(scope="module")
def table_model() -> Model:
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(2, 200))
    town = np.where(generator.random(200) < 0.5, "x", "y")
    rows = [{"a": p, "b": q, "town": t, "y": "up" if p + q > 0 else "down"} for p, q, t in zip(a, b, town, strict=True)]
    return tr.transfer("table:columns", open_table(rows, target="y", name="t"), method="probe")


def test_tables(table_model: Model, tmp_path: Path):
    require_reasons(table_model, hostile.tables(tmp_path / "bad"), {"a": 0.1, "b": 0.2, "town": "x"})


def test_rows(table_model: Model):
    good = {"a": 0.1, "b": 0.2, "town": "x"}
    refused = require_reasons(table_model, hostile.rows(good), good)
    reasons = [answer["reason"] for answer in refused]
    assert "column 'a' must hold a number, but holds 'not a number'" in reasons[0]
    assert "lacks 'a'" in reasons[-1] and "levels deep" in reasons[3]


def test_what_training_did_not_have_is_told_and_turned_away_when_strict(table_model: Model):
    rows = [{"a": 0.0, "b": 99.0, "town": "z"}, {"a": None, "b": 0.0, "town": "x"}, {"a": 0.1, "b": 0.2, "town": "x"}]
    first, second, third = table_model.predict(rows)
    assert "column 'b' holds 99.0, out of the training range" in first["warnings"][0]
    assert first["warnings"][1] == "column 'town' holds 'z', which it never did in training" and "class" in first
    assert second["warnings"] == ["column 'a' is empty, which it never was in training"]
    assert "warnings" not in third
    strict = table_model.predict(rows, strict=True)
    assert [answer["rejected"] for answer in strict] == [True, True, False] and "'z'" in strict[0]["reason"]
