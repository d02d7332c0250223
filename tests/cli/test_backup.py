"""A saved model away and back by the command line."""

import json


def test_a_model_goes_and_comes_back(transfuse, here, model):
    ended = transfuse("backup", model, "there", "--keep", 2)
    assert ended.code == 0 and "Every byte was read back" in ended.out, ended.err
    ended = transfuse("restore", "there", "back")
    assert ended.code == 0 and "every byte compared" in " ".join(ended.out.split()), ended.err
    assert transfuse("verify", "back").code == 0
    assert (here / "back" / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()
    listed = json.loads(transfuse("restore", "there", "--list", "--format", "json").out)
    assert [row["whole"] for row in listed["rows"]] == ["yes"]


def test_what_cannot_be_restored_is_one_message(transfuse, here):
    ended = transfuse("restore", "nowhere")
    assert ended.code == 1 and "must hold a whole backup, but has none" in ended.err and "Traceback" not in ended.err


def test_verify_finds_what_changed_in_a_model_and_a_report(transfuse, here, model):
    transfuse("backup", model, "there")
    transfuse("restore", "there", "m")
    assert transfuse("verify", "m").code == 0 and transfuse("verify", "m/report.json").code == 0
    (here / "m" / "README.md").write_text("mine")
    ended = transfuse("verify", "m")
    assert ended.code == 1 and "README.md differs" in ended.out
    text = (here / "m" / "report.html").read_text()
    (here / "m" / "report.html").write_text(text.replace("a", "b", 1))
    assert transfuse("verify", "m/report.html").code == 1
    ended = transfuse("backup", "m", "elsewhere")
    assert ended.code == 1 and "was not backed up" in ended.err
