"""Commands on texts."""

import json
from pathlib import Path

import pytest
from tests.conftest import sentences


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A CSV of sentences about three topics."""
    path = tmp_path / "topics.csv"
    path.write_text("text,label\n" + "\n".join(map(",".join, zip(*sentences(20), strict=True))))
    return path


def test_transfer_predict_evaluate(transfuse, tiny_networks: dict[str, Path], table: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    made = transfuse("transfer", tiny_networks["bert"], table, "--method", "probe", "--out", model, "--quiet")
    assert made.code == 0 and "tf-idf + linear" in made.out
    (tmp_path / "note.txt").write_text("loud guitar song")
    inputs = ["warm rain and wind", tmp_path / "note.txt", tmp_path / "missing.txt"]
    answered = transfuse("predict", model, *inputs, "--format", "json", "--quiet")
    answers = json.loads(answered.out)
    assert answered.code == 1 and [("class" in a, a["rejected"]) for a in answers] == [(True, False)] * 2 + [
        (False, True)
    ]
    outside = tmp_path / "outside.txt"
    outside.write_text("xyzzy plugh\nqux frobnicate\n")
    measured = transfuse("evaluate", model, table, "--outside", outside, "--quiet")
    assert measured.code == 0 and "AUROC" in measured.out


def test_options_of_texts(transfuse, tiny_networks: dict[str, Path], table: Path, tmp_path: Path) -> None:
    out = ("--out", tmp_path / "m", "--quiet", "--method", "probe")
    cut = transfuse(
        "transfer", tiny_networks["bert"], table, *out, "--max-length", 5, "--cut", "start", "--pooling", "cls"
    )
    assert cut.code == 0 and "longer than 5 tokens; their start is cut" in " ".join(cut.out.split())
    wrong = transfuse("transfer", tiny_networks["bert"], table, *out, "--size", 32)
    assert wrong.code == 2 and "is for sources of pictures" in wrong.err
    column = transfuse("transfer", tiny_networks["bert"], table, *out, "--text-column", "body")
    assert column.code == 2 and "Known: label, text" in column.err


def test_perplexity(transfuse, tiny_networks: dict[str, Path], table: Path) -> None:
    found = transfuse("perplexity", tiny_networks["llama"], table, "--format", "json", "--quiet")
    rows = json.loads(found.out)["rows"]
    assert found.code == 0 and [row["metric"] for row in rows] == ["perplexity", "bits a byte"]
    assert rows[0]["value"]["n"] == 60
