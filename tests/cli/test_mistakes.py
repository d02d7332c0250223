"""What users mistype: one clear message, exit code 1 or 2, never a traceback, nothing written."""

import json
import shutil

import pytest

USAGE, OTHER = 2, 1
R = "random:timm:test_resnet"
PROBE = ("--method", "probe", "--size", "32")

MISTAKES = {
    "unknown command": (("fti", "photos"), USAGE, "Did you mean 'fit'?"),
    "no argument": (("fit",), USAGE, "Missing argument 'DATA'"),
    "unknown option": (("fit", "photos", "--bugdet", "1m"), USAGE, "--budget"),
    "no data": (("fit", "nowhere"), OTHER, "no file or folder 'nowhere'"),
    "empty folder": (("fit", "empty"), OTHER, "has no pictures"),
    "text file as data": (("fit", "text.txt"), OTHER, "must be a folder, a table"),
    "budget in words": (("fit", "photos", "--budget", "soon"), USAGE, "'10m' or '1h30m'"),
    "unknown network": (("fit", "photos", "--source", "timm:resnt18"), USAGE, "Near: resnet18"),
    "unknown kind of source": (("fit", "photos", "--source", "tim:resnet18"), USAGE, "Did you mean 'timm'?"),
    "no network": (("fit", "photos", "--source", "timm:resnet18"), OTHER, "Without a network work"),
    "kind of source left out": (("transfer", "resnet18", "photos"), USAGE, "Did you mean 'timm:resnet18'?"),
    "text file as source": (("transfer", "text.txt", "photos"), OTHER, "There is no source 'text.txt'"),
    "text file as weights": (("transfer", "file:text.txt@timm:resnet18", "photos"), OTHER, "is plain text"),
    "unknown method": (("transfer", R, "photos", "--method", "fintune"), USAGE, "Did you mean 'finetune'?"),
    "unknown option of a method": (("transfer", R, "photos", "--set", "layer_deacy=1"), USAGE, "'layer_decay'"),
    "option of a method without value": (("transfer", R, "photos", "--set", "alpha"), USAGE, "NAME=VALUE"),
    "words for a number": (("transfer", R, "photos", "--set", "layer_decay=abc"), USAGE, "must be a number"),
    "part of a step": (("transfer", R, "photos", "--set", "steps=2.5"), USAGE, "must be a whole number"),
    "number for a word": (("transfer", R, "photos", "--set", "batch_norm=7"), USAGE, "'frozen' or 'adapt'"),
    "unknown word": (("transfer", R, "photos", "--set", "batch_norm=frosen"), USAGE, "Did you mean 'frozen'?"),
    "number for a head": (("transfer", R, "photos", "--set", "head=3"), USAGE, "`head` must be"),
    "no units": (("transfer", R, "photos", "--head", "mlp", "--hidden", "-4"), USAGE, "at least 1"),
    "number for the training": (("transfer", R, "photos", "--set", "fit=3"), USAGE, "`fit` must be"),
    "unknown class": (("transfer", R, "photos", "--class-weights", "cats=2", *PROBE), USAGE, "'cat'"),
    "weight in words": (("transfer", R, "photos", "--class-weights", "cat=much", *PROBE), USAGE, "cat=2,dog=0.5"),
    "unknown class weights": (("transfer", R, "photos", "--class-weights", "balance", *PROBE), USAGE, "'balanced'"),
    "mean in words": (("transfer", R, "photos", "--mean", "a,b"), USAGE, "0.485,0.456,0.406"),
    "negative size": (("transfer", R, "photos", "--size", "-3"), USAGE, "is -3"),
    "negative steps": (("transfer", R, "photos", "--steps", "-3"), USAGE, "`steps` must be at least 0"),
    "unknown head": (("transfer", R, "photos", "--head", "mpl", "--steps", "2"), USAGE, "Did you mean 'mlp'?"),
    "unknown loss": (("transfer", R, "photos", "--loss", "foo", "--size", "32", "--steps", "2"), USAGE, "focal"),
    "shares above 1": (("transfer", R, "photos", "--valid", "1.5"), USAGE, "1.5"),
    "column of a folder": (("transfer", R, "photos", "--target", "x", *PROBE), USAGE, "`target` names a column"),
    "folder that is no model to replace": (("transfer", R, "photos", "--out", "photos"), OTHER, "not replaced"),
    "folder below a file": (("transfer", R, "photos", "--out", "text.txt/m"), OTHER, "is a file, not a folder"),
    "file as model": (("evaluate", "text.txt", "photos"), OTHER, "must be a saved Model's folder"),
    "no model": (("predict", "nowhere", "photos"), OTHER, "has no model.json"),
    "nothing to predict": (("predict", "model", "empty"), OTHER, "at least one picture"),
    "report of another kind": (("evaluate", "model", "photos", "--report", "r.pdf"), USAGE, ".html or .json"),
    "comparison on nothing": (("compare", "model", "model", "nowhere"), OTHER, "no file or folder 'nowhere'"),
}  # fmt: skip


@pytest.fixture
def place(here, photos, model):
    """A working folder with the things that the mistakes are about."""
    (here / "photos").symlink_to(photos)
    (here / "model").symlink_to(model)
    (here / "empty").mkdir()
    (here / "text.txt").write_text("hello")
    return here


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gives_one_clear_message(transfuse, place, mistake):
    arguments, code, words = MISTAKES[mistake]
    before = sorted(place.rglob("*"))
    ended = transfuse(*arguments)
    assert ended.code == code, ended
    message = ended.err.strip().splitlines()[-1]
    assert message.startswith("Error: ") and words in message and len(message) < 500
    assert "Traceback" not in ended.err and ended.out == ""
    assert sorted(place.rglob("*")) == before


def changed(document: dict, name: str) -> dict | list:
    return {
        "no head": {key: value for key, value in document.items() if key != "head"},
        "no builder": document | {"builder": {}},
        "unknown network": document | {"builder": {"timm": "nonsense"}},
        "strange provenance": document | {"provenance": {"x": 1}},
        "fewer classes": document | {"classes": ["a"]},
        "other digest": document | {"digest": "0" * 64},
        "newer schema": document | {"schema": 99},
        "a list": [],
    }[name]


@pytest.mark.parametrize(
    "name",
    ["no head", "no builder", "unknown network", "strange provenance", "fewer classes", "other digest", "newer schema",
     "a list"],
)  # fmt: skip
def test_a_model_that_was_changed_is_refused(transfuse, here, model, photos, name):
    shutil.copytree(model, here / "m")
    document = json.loads((model / "model.json").read_text())
    (here / "m" / "model.json").write_text(json.dumps(changed(document, name)))
    (here / "m" / "SHA256SUMS").unlink()
    ended = transfuse("predict", "m", photos / "cat" / "cat0.png")
    assert ended.code == 1 and ended.err.startswith("Error: ")
