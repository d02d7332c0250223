"""Every command on real pictures, as a user types it."""

import csv
import json
import shlex
import sys
from pathlib import Path

import click
import numpy as np
import pytest
from safetensors.torch import save_file
from tests.conftest import sentences

from transfuse.cli.main import COMMANDS, LazyGroup
from transfuse.cli.main import transfuse as group
from transfuse.predicting.folder import load
from transfuse.predicting.predict import predict


def strict(text):
    """JSON as every reader takes it: no NaN, no Infinity."""
    return json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


def test_fit_gives_a_model_a_report_and_a_table(transfuse, here, photos, source, trained, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    ended = transfuse("fit", photos, "--source", source, "--budget", "5m", "--out", "m", "--steps", 20, *trained)
    assert ended.code == 0, ended.err
    for word in ("accuracy", "probe of test_resnet", "finetune of test_resnet", "scratch of test_resnet", "n=7"):
        assert word in ended.out
    assert "model: m\n" in ended.out and "report: m/report.html" in ended.out
    files = {path.name for path in (here / "m").iterdir()}
    assert files == {
        *("model.json", "model.safetensors", "guard.safetensors", "SHA256SUMS"),
        *("README.md", "report.html", "report.json"),
    }
    assert "transfuse fit" in (here / "m" / "report.html").read_text()
    assert load("m").classes == ("cat", "dog", "eel")
    assert not list((here.parent / "cache" / "runs").iterdir())


def test_fit_in_json_of_several_sources_without_training(transfuse, here, photos, source, model):
    ended = transfuse("fit", photos, "--source", source, "--source", model, *("--size", 32, "--no-finetune"),
                      *("--format", "json", "--name", "my model"))  # fmt: skip
    document = strict(ended.out)
    assert ended.code == 0 and {"title", "rows", "summary", "warnings", "model", "report"} <= set(document)
    assert len(document["rows"]) == 2 and document["rows"][0]["accuracy"]["n"] == 7
    assert load("model").name == "my model"


def test_fit_names_a_source_that_cannot_be_had_and_goes_on(transfuse, here, photos, source):
    ended = transfuse("fit", photos, "--source", "timm:resnet18", "--source", source, "--size", 32, "--no-finetune")
    assert ended.code == 0
    assert "timm:resnet18" in ended.out and "source-left-out" in ended.out


@pytest.mark.parametrize("head", [(), ("--head", "mlp", "--hidden", 8, "--activation", "gelu", "--dropout", 0.1)])
def test_transfer_trains_and_tells_what_it_did(transfuse, here, photos, source, trained, head):
    ended = transfuse("transfer", source, photos, "--out", "m", "--steps", 20, *trained, *head, "--format", "json")
    assert ended.code == 0, ended.err
    document = strict(ended.out)
    assert document["model"] == "m" and document["rows"][0]["accuracy"]["n"] == 7
    assert any("20 steps" in sentence for sentence in document["summary"])
    recorded = json.loads((here / "m" / "model.json").read_text())
    assert recorded["head"]["kind"] == (head[1] if head else "linear")
    assert recorded["provenance"]["options"]["fit"]["rate"] == 0.001


def test_options_of_a_method_are_set_by_name(transfuse, here, photos, source, trained):
    ended = transfuse("transfer", source, photos, "--method", "l2sp", "--set", "alpha=0.25", "--steps", 2, *trained)
    assert ended.code == 0, ended.err
    assert json.loads((here / "model" / "model.json").read_text())["provenance"]["options"]["alpha"] == 0.25


def test_class_weights_and_the_metric_to_stop_at_are_taken(transfuse, here, photos, source, trained):
    weights = ("--class-weights", "cat=2,dog=0.5,eel=1", "--stop-at", 0.01)
    ended = transfuse("transfer", source, photos, "--steps", 60, *trained, *weights)
    assert ended.code == 0, ended.err
    options = json.loads((here / "model" / "model.json").read_text())["provenance"]["options"]
    assert options["fit"]["class_weights"] == {"cat": 2.0, "dog": 0.5, "eel": 1.0}
    assert options["found"]["stopped_by"] == "target"


def test_the_same_command_gives_the_same_weights(transfuse, here, photos, source, trained):
    digests = set()
    for out in ("a", "b"):
        assert transfuse("transfer", source, photos, "--out", out, "--steps", 6, *trained).code == 0
        digests.add(json.loads((here / out / "model.json").read_text())["digest"])
    assert len(digests) == 1


def test_a_table_of_paths_with_two_targets_is_a_regression(transfuse, here, photos, source):
    pictures = sorted(photos.rglob("*.png"))
    with (here / "table.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "red", "blue"])
        writer.writerows([path, path.parent.name == "cat", 0.5 + (path.parent.name == "eel")] for path in pictures)
    text = (here / "table.csv").read_text().replace("True", "1.0").replace("False", "0.0")
    (here / "table.csv").write_text(text)
    columns = ("--target", "red", "--target", "blue", "--kind", "regression")
    ended = transfuse("transfer", source, "table.csv", *columns, "--method", "probe", "--size", 32)
    assert ended.code == 0, ended.err
    assert "rmse" in ended.out and load("model").classes == ("red", "blue")
    answers = strict(transfuse("predict", "model", pictures[0], "--format", "json").out)
    assert set(answers[0]["values"]) == {"red", "blue"}


def test_evaluate_prints_every_metric_and_writes_a_report(transfuse, here, photos, model):
    ended = transfuse("evaluate", model, photos, "--report", "r.html", "--format", "json")
    document = strict(ended.out)
    assert ended.code == 0 and document["report"] == "r.html" and (here / "r.html").stat().st_size > 5000
    names = {row["metric"] for row in document["rows"]}
    assert {"accuracy", "balanced_accuracy", "f1", "auc", "log_loss", "calibration_error"} == names
    assert {row["value"]["n"] for row in document["rows"]} == {36}
    assert "accuracy" in transfuse("evaluate", model, photos).out


def test_compare_says_the_paired_difference(transfuse, here, photos, model):
    ended = transfuse("compare", model, model, photos)
    assert ended.code == 0 and "No difference" in " ".join(ended.out.split())
    document = strict(transfuse("compare", model, model, photos, "--format", "json").out)
    assert len(document["rows"]) == 2 and "n = 36" in document["summary"][0]


def test_predict_answers_as_python_does(transfuse, here, photos, model):
    pictures = [photos / "cat" / "cat0.png", photos / "eel" / "eel0.png"]
    ended = transfuse("predict", model, *pictures, "--format", "json")
    answers = strict(ended.out)
    assert ended.code == 0 and [answer["class"] for answer in answers] == ["cat", "eel"]
    expected = predict(load(model), pictures)
    assert [answer["probabilities"] for answer in answers] == [answer["probabilities"] for answer in expected]
    assert np.isclose(sum(answers[0]["probabilities"].values()), 1)


def test_predict_goes_through_folders_and_prints_a_table(transfuse, here, photos, model, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    ended = transfuse("predict", model, photos)
    assert ended.code == 0 and "confidence" in ended.out
    assert {line.split()[0] for line in ended.out.splitlines()[1:]} == {str(path) for path in photos.rglob("*.png")}


def test_a_picture_that_cannot_be_read_is_named_and_the_others_are_answered(transfuse, here, photos, model):
    (here / "broken.png").write_bytes(b"no picture")
    ended = transfuse("predict", model, "broken.png", photos / "cat" / "cat1.png", "--format", "json")
    first, second = strict(ended.out)
    assert ended.code == 1 and "broken.png" in first["reason"] and second["class"] == "cat"
    assert transfuse("predict", model, "broken.png").code == 1


def test_methods_lists_every_method_with_its_own_options(transfuse):
    from transfuse.transferring.methods.table import METHODS
    from transfuse.transferring.options import own_options

    document = strict(transfuse("methods", "--format", "json").out)
    assert list(document) == list(METHODS)
    for name, (line, options) in document.items():
        assert line.endswith(".") and tuple(options) == own_options(name)
    table = transfuse("methods").out
    assert all(name in table for name in METHODS)


def test_cache_says_what_is_there_and_clears_it(transfuse, here, photos, source):
    empty = strict(transfuse("cache", "--format", "json").out)
    assert (empty["entries"], empty["runs"], empty["bytes"]) == (0, 0, 0)
    transfuse("transfer", source, photos, "--method", "probe", "--size", 32)
    run = here.parent / "cache" / "runs" / "abc" / "training.safetensors"
    run.parent.mkdir(parents=True)
    run.write_bytes(bytes(1000))
    full = strict(transfuse("cache", "--format", "json").out)
    assert full["entries"] >= 1 and full["runs"] == 1 and full["bytes"] > 1000
    assert "unfinished run abc" in transfuse("cache").out
    cleared = strict(transfuse("cache", "--clear", "--format", "json").out)
    assert cleared["removed_bytes"] == full["bytes"] and cleared["entries"] == cleared["runs"] == 0
    assert "Removed" in transfuse("cache", "--clear").out


def test_the_cache_knows_the_words_of_texts(transfuse, here):
    texts, labels = sentences(8)
    Path("t.csv").write_text("text,label\n" + "".join(f"{t},{y}\n" for t, y in zip(texts, labels, strict=True)))
    fitted = ("transfer", "builtin:words", "t.csv", "--method", "probe", "--quiet", "--out")
    assert transfuse(*fitted, "a").code == 0
    assert "1 vocabulary, 0 unfinished runs" in transfuse("cache").out and "words of texts" in transfuse("cache").out
    kept = next((here.parent / "cache" / "words").iterdir())
    kept.write_bytes(kept.read_bytes()[:100])
    assert transfuse(*fitted, "b").code == 0  # what broke is learnt again
    assert strict(transfuse("cache", "--clear", "--format", "json").out)["vocabularies"] == 0
    assert not kept.exists() and transfuse("predict", "b", "warm rain today").code == 0


def test_the_command_that_repeats_it_is_printed_whole(transfuse, here, photos, source):
    name = "a name with 'quotes' that is long enough to be wider than eighty columns of a terminal"
    arguments = ("transfer", source, str(photos), "--method", "probe", "--size", "32", "--name", name)
    ended = transfuse(*arguments)

    assert tuple(shlex.split(ended.out.partition("repeat with:\n")[2].splitlines()[0])) == ("transfuse", *arguments)


def test_quiet_writes_no_progress(transfuse, here, photos, source):
    noisy = transfuse("transfer", source, photos, "--method", "probe", "--size", 32)
    quiet = transfuse("transfer", source, photos, "--method", "probe", "--size", 32, "--quiet")
    assert "extracting" in noisy.err and quiet.err == ""


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_every_option_once(transfuse, name):
    ended = transfuse(name, "--help")
    assert ended.code == 0 and ended.out.startswith(f"Usage: transfuse {name}")
    command = group.get_command(click.Context(group), name)
    names = [name for parameter in command.params for name in parameter.opts]
    assert len(names) == len(set(names))
    assert len({parameter.name for parameter in command.params}) == len(command.params)
    assert "--format" in names and command.help
    for parameter in command.params:
        assert isinstance(parameter, click.Argument) or parameter.name == "seed" or parameter.help or parameter.opts


def test_help_lists_the_table_and_the_version_is_the_package_s(transfuse):
    import transfuse as package

    ended = transfuse("--help")
    assert isinstance(group, LazyGroup) and all(f"  {name} " in ended.out for name in COMMANDS)
    assert package.__version__ in transfuse("--version").out


def test_python_m_gives_the_exit_code(transfuse, monkeypatch):
    import runpy

    monkeypatch.setattr(sys, "argv", ["transfuse", "predict", "nowhere", "x.png"])
    with pytest.raises(SystemExit) as ending:
        runpy.run_module("transfuse", run_name="__main__")
    assert ending.value.code == 1


NETS = '''
from torch import nn


def small():
    """A body of the user's own: pictures to 8 features."""
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
'''


def test_a_network_of_the_user_s_own_needs_trust_and_its_model_again(transfuse, here, photos):
    (here / "nets.py").write_text(NETS)
    names = {}
    exec(NETS, names)
    save_file(names["small"]().state_dict(), here / "w.safetensors")
    command = ("transfer", "file:w.safetensors@nets.py:small", photos, "--method", "probe", "--size", 32)
    refused = transfuse(*command)
    assert refused.code in (1, 2) and "--trust-code" in refused.err and not (here / "model").exists()
    assert transfuse(*command, "--trust-code").code == 0
    picture = photos / "dog" / "dog0.png"
    again = transfuse("predict", "model", picture)
    assert again.code in (1, 2) and "--trust-code" in again.err
    assert strict(transfuse("predict", "model", picture, "--trust-code", "--format", "json").out)[0]["class"]
