"""What sounds and fusions buy, from files to a saved model: kept when proven, refused in words when not."""

from pathlib import Path

import pytest
from tests.conftest import write_pairs, write_sounds, write_tone

import transfuse as tr
from transfuse.core.errors import UsageError
from transfuse.core.nouns import Model


def decisions(model: Model) -> dict[str, dict]:
    section = next(s for s in model.report.sections if s.kind == "decisions")  # type: ignore[union-attr]
    return {decision["question"]: decision for decision in section.content}


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pairs(tmp_path_factory.mktemp("pairs") / "pairs", 40)


def test_sounds_to_a_saved_model(tmp_path: Path) -> None:
    folder = write_sounds(tmp_path / "tones", 8)
    options = {"steps": 4, "rate": 1e-4}
    model = tr.fit(folder, sources=["random:timm:test_resnet"], budget="2m", options=options, baseline=False)
    assert model.modality == "sound"
    broken = tmp_path / "broken.wav"
    broken.write_text("no")
    new = [write_tone(tmp_path / "a.wav", 210), write_tone(tmp_path / "b.wav", 1600, rate=16000), broken]
    again = tr.load(model.save(tmp_path / "model"))
    answers = again.predict(new)
    assert [answer.get("class") for answer in answers[:2]] == ["low", "high"] and "broken.wav" in answers[2]["reason"]
    assert model.predict(new[:2])[0]["probabilities"] == pytest.approx(answers[0]["probabilities"], abs=1e-4)
    trained = [row for row in model.report.rows if row["steps"]]  # type: ignore[union-attr]
    assert len(trained) == 1 and "sound.wav" in (tmp_path / "model" / "README.md").read_text()


def test_fit_finds_out_that_a_voice_does_not_carry_over(pairs: Path, tmp_path: Path) -> None:
    model = tr.fit(pairs, sources=["random:timm:test_resnet"], budget="2m", finetune=False)
    assert "groups-in-names" in {warning.code for warning in model.report.warnings}  # type: ignore[union-attr]
    told = decisions(model)
    assert "a group held out at a time: picture by test_resnet" in told["Which columns know what?"]["evidence"]
    fused = told["Does fusing beat the best of its parts alone?"]
    assert fused["decision"] in ("Not proven.", "No: fusing hurts.") and "fused probe of picture:" in fused["evidence"]
    assert "Chosen out of fold" in model.report.summary[0]  # type: ignore[union-attr]
    assert any("Fus" in line or "FUS" in line for line in model.report.summary)  # type: ignore[union-attr]
    assert model.metrics["test"]["accuracy"]["value"] > 0.75
    again = tr.load(model.save(tmp_path / "model"))
    assert len(again.predict(pairs / "test.csv")) == 40


def test_a_fusion_that_is_not_better_is_refused(pairs: Path) -> None:
    model = tr.fuse_features(["random:timm:test_resnet"], pairs, kind="concat")
    assert any("refused" in line and "picture" in line for line in model.report.summary)  # type: ignore[union-attr]
    assert "picture" in model.name and "sound" not in model.name
    assert model.provenance.verb == "fuse" and model.provenance.options["features"] == "concat"


def test_a_part_alone_is_no_fusion(tmp_path: Path) -> None:
    folder = write_sounds(tmp_path / "tones", 6)
    with pytest.raises(UsageError, match="at least two parts"):
        tr.fuse_features(["random:timm:test_resnet"], folder)
    model = tr.fuse_features(["random:timm:test_resnet", "random:timm:test_vit"], folder)
    assert model.modality == "sound" and len(model.report.rows) == 3  # type: ignore[union-attr]
