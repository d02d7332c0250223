"""Answers for whatever a user has: paths, folders, arrays, PIL pictures, good and bad together."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from transfuse.core.errors import DataError
from transfuse.core.nouns import Model
from transfuse.core.runs import Run
from transfuse.predicting.predict import activated, logits, predict, probabilities


@pytest.fixture
def folder(tmp_path: Path, pictures) -> Path:
    """Three pictures, two of them deeper, and a file that is none."""
    root = tmp_path / "shots"
    (root / "deeper").mkdir(parents=True)
    for place, name in enumerate(("a.png", "deeper/b.PNG", "deeper/c.jpg")):
        Image.fromarray(pictures[place]).save(root / name)
    (root / "notes.txt").write_text("no picture")
    return root


def classes(answers: list[dict]) -> list[str]:
    return [answer["class"] for answer in answers]


def test_every_form_of_input(colour_model: Model, folder: Path, pictures):
    right = ["red", "green", "blue"]
    assert classes(predict(colour_model, pictures)) == right
    assert classes(predict(colour_model, np.stack(pictures))) == right
    assert classes(predict(colour_model, [Image.fromarray(picture) for picture in pictures])) == right
    assert classes(predict(colour_model, folder)) == right
    assert classes(predict(colour_model, [str(folder / "a.png"), folder / "deeper"])) == right
    assert classes(predict(colour_model, folder / "a.png")) == ["red"]
    assert classes(predict(colour_model, pictures[1])) == ["green"]
    assert classes(predict(colour_model, Image.fromarray(pictures[2]))) == ["blue"]
    assert classes(colour_model.predict(tuple(pictures))) == right


def test_an_answer_names_its_input_and_its_probabilities(colour_model: Model, folder: Path, pictures):
    (answer,) = predict(colour_model, folder / "a.png")
    assert answer["input"] == str(folder / "a.png")
    assert sum(answer["probabilities"].values()) == pytest.approx(1)
    assert answer["confidence"] == max(answer["probabilities"].values()) == answer["probabilities"]["red"]
    assert [a["input"] for a in predict(colour_model, pictures)] == ["input 0", "input 1", "input 2"]


def test_a_file_that_cannot_be_read_does_not_stop_the_others(colour_model: Model, folder: Path):
    (folder / "broken.png").write_bytes(b"not a picture")
    answers = predict(
        colour_model, [folder / "a.png", folder / "broken.png", folder / "none.png", folder / "deeper/c.jpg"]
    )
    assert [answer.get("class") for answer in answers] == ["red", None, None, "blue"]
    assert "broken.png" in answers[1]["reason"] and "none.png" in answers[2]["reason"]
    assert all(answer["rejected"] for answer in predict(colour_model, [folder / "broken.png"]))


@pytest.mark.parametrize("nothing", [[], (), np.zeros((0, 8, 8, 3), np.uint8)])
def test_nothing_to_predict_is_an_error(colour_model: Model, nothing):
    with pytest.raises(DataError, match="at least one picture"):
        predict(colour_model, nothing)


def test_a_folder_without_pictures_is_an_error(colour_model: Model, tmp_path: Path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="none was given or found"):
        predict(colour_model, tmp_path / "empty")


def test_regression_answers_in_the_users_units(model_of, pictures):
    model = model_of("regression")
    raw_NC = logits(model.network, pictures, model.preprocessing)
    values = [list(answer["values"].values()) for answer in predict(model, pictures)]
    np.testing.assert_allclose(values, raw_NC * np.array([1, 2, 3]) + np.array([10, 20, 30]), rtol=1e-6)
    assert list(predict(model, pictures)[0]["values"]) == ["red", "green", "blue"]


def test_multi_label_answers_name_every_class_above_a_half(model_of, pictures):
    model = model_of("multi-label")
    raw_NC = logits(model.network, pictures, model.preprocessing).astype(float)
    expected_NC = 1 / (1 + np.exp(-raw_NC / 1.7))
    for answer, expected_C in zip(predict(model, pictures), expected_NC, strict=True):
        assert list(answer["probabilities"].values()) == pytest.approx(list(expected_C))
        assert answer["classes"] == [name for name, p in zip(model.classes, expected_C, strict=True) if p >= 0.5]


def test_probabilities_are_the_softmax_at_the_temperature(model_of, pictures):
    model = model_of()
    scaled = logits(model.network, pictures, model.preprocessing).astype(float) / 1.7
    expected = np.exp(scaled) / np.exp(scaled).sum(1, keepdims=True)
    np.testing.assert_allclose(probabilities(model, pictures), expected, rtol=1e-9)


def test_huge_logits_stay_finite():
    for kind in ("single-label", "multi-label"):
        assert np.isfinite(activated(np.array([[1e30, -1e30, 0]], np.float32), kind, temperature=1e-3)).all()


def test_the_order_and_the_batch_do_not_matter(model_of, pictures):
    model = model_of()
    alone = np.concatenate([probabilities(model, [picture]) for picture in pictures])
    np.testing.assert_allclose(probabilities(model, pictures[::-1])[::-1], alone, atol=1e-6)
    small = logits(model.network, pictures, model.preprocessing, batch_size=2)
    np.testing.assert_allclose(small, logits(model.network, pictures, model.preprocessing), atol=1e-5)


def test_predicting_leaves_the_mode_and_reports_progress(model_of, pictures):
    model, seen = model_of(), []
    model.network.train()
    probabilities(model, pictures, run=Run(watch=seen.append))
    assert model.network.training and seen[-1]["done"] == seen[-1]["total"] == 3
