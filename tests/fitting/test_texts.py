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


def test_without_a_network_the_error_says_what_can_be_given() -> None:
    with pytest.raises(NotCached, match="local folder"):
        tr.fit(sentences(20), budget="20s")


def test_ranking_texts(tiny_networks: dict[str, Path]) -> None:
    task = tr.task(sentences(30))
    report = tr.rank(task, [str(folder) for folder in tiny_networks.values()])
    assert {row["source"] for row in report.rows} == {"bert", "llama"}
    with pytest.raises(DataError, match="modality image"):
        tr.rank(task, ["random:timm:test_resnet"])
