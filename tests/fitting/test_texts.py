"""The main job on texts."""

from pathlib import Path

import pytest
from tests.conftest import sentences

import transfuse as tr
from transfuse.core.errors import DataError, NotCached


def test_fit_chooses_among_probe_and_training_and_shows_what_words_say(
    tiny_networks: dict[str, Path], tmp_path: Path
) -> None:
    path = tmp_path / "topics.csv"
    path.write_text("text,label\n" + "\n".join(map(",".join, zip(*sentences(30), strict=True))))
    sources = [str(tiny_networks["bert"]), str(tiny_networks["llama"])]
    options = {"steps": 6, "rate": 1e-3, "precision": "float32"}
    model = tr.fit(path, sources=sources, budget="60s", options=options)
    assert model.modality == "text" and model.report is not None
    names = [row["model"] for row in model.report.rows]
    assert {"probe of bert", "probe of llama", "tf-idf + linear"} <= set(names)
    assert any(name.startswith("finetune") for name in names) and any(name.startswith("scratch") for name in names)
    assert any("tf-idf + linear" in sentence for sentence in model.report.summary)
    model.save(tmp_path / "m")
    assert (
        tr.load(tmp_path / "m").predict(["warm rain today"])[0]["class"] == model.predict("warm rain today")[0]["class"]
    )


def test_without_a_network_words_are_counted_and_it_is_said() -> None:
    model = tr.fit(sentences(30), budget="20s")
    assert model.report is not None and model.provenance.method == "probe"
    assert [row["model"] for row in model.report.rows] == ["probe of words", "tf-idf + linear"]
    assert any("Nothing was transferred" in sentence for sentence in model.report.summary)
    assert any(w.code == "source-left-out" for w in model.report.warnings)
    assert model.predict("warm rain today")[0]["class"] == "weather"


def test_a_source_that_was_named_must_be_had() -> None:
    with pytest.raises(NotCached, match="local folder"):
        tr.fit(sentences(20), sources=["hf:someone/nothing"], budget="20s")


def test_a_source_that_does_not_beat_words_is_told(tiny_networks: dict[str, Path]) -> None:
    model = tr.fit(sentences(30), sources=[str(tiny_networks["bert"])], finetune=False, budget="30s")
    assert model.report is not None
    told = [s for s in model.report.summary if "DOES NOT BEAT COUNTED WORDS" in s]
    assert any("probe of words" in s for s in told) and any("tf-idf" in s for s in told)
    assert model.name.endswith("(probe of words)")  # the simpler of equals


def test_ranking_texts(tiny_networks: dict[str, Path]) -> None:
    task = tr.task(sentences(30))
    report = tr.rank(task, [str(folder) for folder in tiny_networks.values()])
    assert {row["source"] for row in report.rows} == {"bert", "llama"}
    with pytest.raises(DataError, match="takes pictures, but the data are texts"):
        tr.rank(task, ["random:timm:test_resnet"])
