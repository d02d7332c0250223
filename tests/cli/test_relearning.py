"""`transfuse update` and `transfuse forget`, as a user types them."""

import json
import shutil

import pytest
from PIL import Image, ImageOps

from transfuse.predicting.folder import load
from transfuse.predicting.predict import predict


@pytest.fixture
def new(here, photos):
    """Four new pictures of each class: mirrored old ones."""
    for path in sorted(photos.rglob("*[0123].png")):
        target = here / "new" / path.parent.name / path.name
        target.parent.mkdir(parents=True, exist_ok=True)
        if len(path.stem) == 4:
            ImageOps.mirror(Image.open(path)).save(target)
    return here / "new"


@pytest.fixture
def probe(transfuse, here, photos, source):
    """A saved ridge probe of the photographs."""
    ended = transfuse(
        "transfer",
        source,
        photos,
        "--method",
        "probe",
        "--set",
        "solver=ridge",
        "--set",
        "remember=true",
        "--size",
        32,
        "--out",
        "m",
    )
    assert ended.code == 0, ended.err
    return here / "m"


def test_update_replaces_the_model_and_forget_brings_it_back(transfuse, here, photos, probe, new):
    before = load(probe)
    ended = transfuse("update", "m", new, "--format", "json")
    assert ended.code == 0, ended.err
    document = json.loads(ended.out)
    assert document["model"] == "m" and document["rows"][0]["accuracy on the new"]["n"] == 12
    assert document["rows"][1]["learnt"] == document["rows"][0]["learnt"] + 12
    assert {path.name for path in probe.iterdir()} == {
        "model.json", "model.safetensors", "learnt.safetensors", "SHA256SUMS", "README.md", "report.html", "report.json"
    }  # fmt: skip
    ended = transfuse("forget", "m", new)
    assert ended.code == 0 and "Not forgotten" in ended.out and "repeat with:\n  transfuse forget m" in ended.out
    pictures = sorted(photos.rglob("*.png"))
    for one, other in zip(predict(load(probe), pictures), predict(before, pictures), strict=True):
        assert one["probabilities"] == pytest.approx(other["probabilities"], abs=1e-5)


def test_out_leaves_the_model_as_it_was(transfuse, here, probe, new):
    was = {path.name: path.read_bytes() for path in probe.iterdir()}
    assert transfuse("update", "m", new, "--out", "n").code == 0
    assert transfuse("forget", "n", new / "cat", "--out", "o").code == 0
    assert {path.name: path.read_bytes() for path in probe.iterdir()} == was
    assert [len(load(folder).learnt.digests) for folder in ("n", "o")] == [
        len(load("m").learnt.digests) + count for count in (12, 8)
    ]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("update", "nowhere", "new"), "must be a saved Model's folder"),
        (("update", "m", "nowhere"), "no file or folder 'nowhere'"),
        (("update", "m", "strange"), "The model knows the classes"),
        (("forget", "m", "nowhere.png"), "nowhere.png"),
        (("forget", "m", "new/cat/cat0.png"), "Nothing was forgotten"),
        (("forget", "m", "photos"), "Nothing was forgotten"),
        (("forget", "m", "photos", "--skip-unknown"), "At least 2 examples must be left"),
    ],
)
def test_a_mistake_gives_one_clear_message_and_changes_nothing(transfuse, here, photos, probe, new, arguments, words):
    shutil.copytree(here / "new" / "cat", here / "strange" / "bird")
    (here / "photos").symlink_to(photos)
    was = {path: path.read_bytes() for path in here.rglob("*") if path.is_file()}
    ended = transfuse(*arguments)
    assert ended.code == 1 and ended.out == ""
    message = ended.err.strip().splitlines()[-1]
    assert message.startswith("Error: ") and words in message and len(message) < 500
    assert {path: path.read_bytes() for path in here.rglob("*") if path.is_file()} == was


def test_a_deleted_file_is_told(transfuse, here, photos, probe):
    (probe / "learnt.safetensors").unlink()
    ended = transfuse("forget", "m", photos / "cat" / "cat0.png")
    assert ended.code == 1 and "learnt.safetensors was deleted" in ended.err
    assert transfuse("predict", "m", photos / "cat" / "cat0.png").code == 0


def test_a_logistic_head_needs_a_word(transfuse, here, photos, source, new):
    options = ("--method", "probe", "--set", "solver=logistic", "--set", "remember=true", "--size", 32, "--out", "m")
    assert transfuse("transfer", source, photos, *options).code == 0
    refused = transfuse("update", "m", new)
    assert refused.code == 2 and "--as-ridge" in refused.err
    assert transfuse("update", "m", new, "--as-ridge").code == 0
    assert load("m").learnt.solver == "ridge"
