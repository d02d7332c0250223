"""`fuse` and `verify` as a user types them."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from transfuse.predicting.folder import load


@pytest.fixture
def family(here, model, photos):
    """Two saved models near the one of the photographs, in the working folder, and the photographs."""
    torch.manual_seed(0)
    for name in ("a", "b"):
        near = load(model)
        with torch.no_grad():
            for parameter in near.network.parameters():
                parameter.add_(0.001 * torch.randn_like(parameter) * parameter.std(correction=0))
        replace(near, name=name, report=None).save(here / name)
    (here / "photos").symlink_to(photos)
    return here


def tensors(folder):
    return load_file(str(folder / "model.safetensors"))


def test_weights_are_merged_and_verified(transfuse, family):
    ended = transfuse("fuse", "a", "b", "--out", "both", "--format", "json", "--quiet")
    assert ended.code == 0, ended.err
    told = json.loads(ended.out)
    assert told["title"] == "linear of 2 checkpoints" and {row["fate"] for row in told["rows"]} == {"merged", "copied"}
    a, b, both = (tensors(family / name) for name in ("a", "b", "both"))
    torch.testing.assert_close(both["head.weight"], (a["head.weight"] + b["head.weight"]) / 2)
    ended = transfuse("verify", "both")
    assert ended.code == 0 and "Everything is as it was written" in ended.out
    assert transfuse("predict", "both", "photos/cat/cat0.png").code == 0


def test_verify_ends_with_1_when_something_changed(transfuse, family):
    transfuse("fuse", "a", "b", "--out", "both", "--quiet")
    save_file({**tensors(family / "both"), "head.bias": torch.zeros(3)}, str(family / "both" / "model.safetensors"))
    ended = transfuse("verify", "both", "--format", "json")
    changed = {row["what"]: row["changed"] for row in json.loads(ended.out)["rows"]}
    assert ended.code == 1 and "head.bias differs" in changed["result"]
    assert "model.safetensors differs" in changed["files"] and changed["parent"] == "nothing"
    assert transfuse("verify", "a").code == 0
    ended = transfuse("verify", "photos")
    assert ended.code == 1 and "must be the result of `transfuse fuse`" in ended.err


def test_predictions_are_fused_into_one_model(transfuse, family):
    arguments = ("fuse", "a", "b", "--method", "average", "--weight", "3", "--weight", "1", "--out", "both")
    ended = transfuse(*arguments, "--format", "json", "--quiet")
    assert ended.code == 0 and [row["share"] for row in json.loads(ended.out)["rows"]] == [0.75, 0.25]
    assert transfuse("evaluate", "both", "photos").code == 0
    assert transfuse("verify", "both").code == 0
    ended = transfuse("fuse", "a", "b", "--method", "caruana", "--set", "rounds=5", "--on", "photos", "--out", "kept")
    assert ended.code == 0 and "The fusion is" in ended.out and load(family / "kept").metrics


def test_a_search_is_in_the_report(transfuse, family):
    arguments = ("fuse", "a", "b", "--search", "alpha", "--trials", "3", "--on", "photos", "--out", "both")
    ended = transfuse(*arguments, "--format", "json", "--quiet")
    assert ended.code == 0, ended.err
    assert any("Searched (alpha, 3 trials" in line for line in json.loads(ended.out)["summary"])
    ended = transfuse("fuse", "a", "b", "--method", "greedy_soup", "--on", "photos", "--out", "soup", "--quiet")
    assert ended.code == 0 and "Searched (soup" in ended.out


MISTAKES = {
    "no parents": (("--out", "x"), 2, "must be given parents"),
    "unknown method": (("a", "b", "--method", "tise", "--out", "x"), 2, "Did you mean 'ties'?"),
    "unknown option": (("a", "b", "--set", "wieght=1", "--out", "x"), 2, "Did you mean 'weight'?"),
    "option of another": (("a", "b", "--method", "average", "--set", "rounds=3", "--out", "x"), 2, "'average'"),
    "unknown search": (("a", "b", "--search", "beta", "--on", "photos", "--out", "x"), 2, "'alpha'"),
    "search without data": (("a", "b", "--search", "alpha", "--out", "x"), 2, "must be given `on` (--on)"),
    "trials without search": (("a", "b", "--trials", "3", "--out", "x"), 2, "must go with a `search`"),
    "target without data": (("a", "b", "--target", "y", "--out", "x"), 2, "must go with --on"),
    "no base": (("a", "b", "--method", "ties", "--out", "x"), 2, "must be given a base"),
    "missing file": (("a", "nowhere", "--out", "x"), 2, "'nowhere' does not exist"),
    "missing member": (("a", "nowhere", "--method", "average", "--out", "x"), 1, "must be a saved Model's folder"),
    "text file": (("a", "text.txt", "--out", "x"), 1, "text.txt"),
    "empty folder": (("a", "empty", "--out", "x"), 2, "must hold model.safetensors"),
    "a parent as output": (("a", "b", "--out", "a"), 2, "must be another folder than its parents"),
    "a parent as output of predictions": (("a", "b", "--method", "average", "--out", "b"), 2, "must be another folder"),
    "above a parent": (("a", "b", "--out", "."), 2, "must be another folder than its parents"),
    "a folder of the user's": (("a", "b", "--out", "photos"), 2, "must be new"),
    "another shape": (("a", "wide", "--out", "x"), 1, "must have one shape"),
    "not a number": (("a", "nan", "--force", "--out", "x"), 1, "finite"),
    "cut off": (("a", "cut", "--out", "x"), 1, "cut"),
    "no data": (("a", "b", "--on", "nowhere", "--out", "x"), 1, "no file or folder 'nowhere'"),
    "bare weights on data": (("a/model.safetensors", "--on", "photos", "--out", "x"), 2, "cannot be asked"),
    "no recipe": (("--recipe", "none.yml", "--out", "x"), 2, "must be YAML"),
}  # fmt: skip


@pytest.fixture
def broken(family):
    """Parents that cannot be merged."""
    whole = tensors(family / "a")
    for name, head in (("wide", torch.zeros(3, 9)), ("nan", torch.full_like(whole["head.weight"], float("nan")))):
        (family / name).mkdir()
        save_file({**whole, "head.weight": head}, str(family / name / "model.safetensors"))
    shutil.copytree(family / "a", family / "cut")
    data = (family / "a" / "model.safetensors").read_bytes()
    (family / "cut" / "model.safetensors").write_bytes(data[:-1000])
    (family / "empty").mkdir()
    (family / "text.txt").write_text("hello")
    return family


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_gives_one_clear_message_and_leaves_all_as_it_was(transfuse, broken, mistake):
    arguments, code, words = MISTAKES[mistake]
    before = {path: path.stat().st_mtime_ns for path in sorted(broken.rglob("*")) if path.is_file()}
    ended = transfuse("fuse", *arguments, "--quiet")
    assert ended.code == code, ended
    message = ended.err.strip().splitlines()[-1]
    assert message.startswith("Error: ") and words in message and len(message) < 500
    assert "Traceback" not in ended.err and ended.out == ""
    after = {path: path.stat().st_mtime_ns for path in sorted(broken.rglob("*")) if path.is_file()}
    left = {str(path.relative_to(broken)) for path in set(after) - set(before)}
    assert {path: after.get(path) for path in before} == before
    assert not (broken / "x").exists() and all(path.startswith(".x.fusing") for path in left)
