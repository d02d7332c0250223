"""Reshaping on the command line: what is written can be used by the next command, mistakes are told."""

import json

import pytest
from tests.conftest import write_photos


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    return write_photos(tmp_path_factory.mktemp("photos"), 16, names=("cat", "dog", "eel"))


@pytest.fixture(scope="module")
def model(photos, tmp_path_factory):
    import transfuse as tr

    source = tr.source("random:timm:test_resnet", size=32)
    made = tr.transfer(source, photos, method="scratch", steps=30, rate=3e-3, patience=0)
    return made.save(tmp_path_factory.mktemp("models") / "model")


def test_wider_then_smaller_then_parted_and_joined(transfuse, model, photos, tmp_path):
    wider = transfuse("reshape", model, "--widen", "1.5", "--out", tmp_path / "wider", "--quiet")
    assert wider.code == 0, wider.err
    assert "Proven: the answers differ by at most" in wider.out
    smaller = transfuse(
        "reshape", tmp_path / "wider", photos, "--prune", "0.5", "--low-rank", "0.2", "--out", tmp_path / "smaller",
        "--quiet", "--format", "json",
    )  # fmt: skip
    assert smaller.code == 0, smaller.err
    before, after = json.loads(smaller.out)["rows"]
    assert after["parameters"] < 0.5 * before["parameters"]
    parted = transfuse(
        "split", tmp_path / "smaller", "--group", "a=cat,dog", "--group", "b=eel", "--out", tmp_path / "p"
    )
    assert parted.code == 0, parted.err
    joined = transfuse("join", tmp_path / "p" / "a", tmp_path / "p" / "b", "--out", tmp_path / "j", "--format", "json")
    assert json.loads(joined.out)["one_trunk"] is True
    compared = transfuse("compare", tmp_path / "j", tmp_path / "smaller", photos)
    assert compared.code == 0 and "+0.00 points" in compared.out


def test_a_ladder(transfuse, model, photos, tmp_path):
    ended = transfuse(
        "shrink", model, photos, "--to", "2x", "--trials", "1", "--steps", "20", "--rate", "0.003", "--no-compare",
        "--out", tmp_path / "ladder", "--quiet",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert "times fewer parameters" in ended.out
    page = (tmp_path / "ladder" / "report.html").read_text()
    assert "accuracy against parameters" in page and "<svg" in page
    assert transfuse("evaluate", tmp_path / "ladder" / "2x", photos).code == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("reshape", "MODEL"), "must be told how"),
        (("reshape", "MODEL", "--widen", "0.5"), "`widen` must be above 1"),
        (("reshape", "MODEL", "--widen", "2", "--out", "MODEL"), "another folder than its parents"),
        (("reshape", "MODEL", "--prune", "0.5"), "give DATA"),
        (("reshape", "MODEL", "--activation", "gelo"), "Did you mean 'gelu'"),
        (("reshape", "MODEL", "--head", "2"), "3"),
        (("reshape", "nowhere", "--widen", "2"), "saved Model"),
        (("shrink", "MODEL", "PHOTOS", "--to", "half"), "`to` must be sizes such as"),
        (("shrink", "MODEL", "PHOTOS", "--to", "5000x", "--trials", "1", "--steps", "20"), "cannot be"),
        (("split", "MODEL", "--group", "a=cat,dgo"), "Did you mean 'dog'"),
        (("split", "MODEL", "--group", "a"), "NAME=CLASS,CLASS"),
        (("join", "MODEL", "MODEL"), "different classes"),
    ],
)
def test_mistakes(transfuse, model, photos, tmp_path, arguments, told):
    words = [{"MODEL": str(model), "PHOTOS": str(photos)}.get(word, word) for word in arguments]
    out = () if "--out" in words else ("--out", tmp_path / "out")
    ended = transfuse(*words, *out)
    assert ended.code in (1, 2)
    assert told in " ".join(ended.err.split())
    assert not (tmp_path / "out").exists()
