"""transfuse transfer --method shared: several DATA, one folder, every task a Model; and the mistakes."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import transfuse as tr

SHARED = ("--method", "shared", "--steps", "4", "--batch-size", "8", "--format", "json")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """48 pictures with two targets: which colour is strongest, and how light they are."""
    folder, random = tmp_path_factory.mktemp("two") / "pictures", np.random.default_rng(0)
    folder.mkdir()
    lines = ["path,colour,light"]
    for row in range(48):
        light, colour = random.uniform(30, 120), row % 2
        pixels = light + random.normal(0, 20, (24, 24, 3)) + 60 * np.eye(3)[colour]
        Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(folder / f"{row}.png")
        lines.append(f"{row}.png,{('red', 'green')[colour]},{light:.2f}")
    (folder / "table.csv").write_text("\n".join(lines))
    return folder / "table.csv"


def test_two_targets_of_one_table_are_two_tasks_on_one_trunk(transfuse, here, table, source, trained):
    data = (f"colour={table}", f"light={table}")
    columns = ("--target", "colour", "--target", "light", "--path-column", "path")
    ended = transfuse("transfer", source, *data, *columns, *trained, *SHARED, "--out", "both", "--quiet")
    assert ended.code == 0, ended.err
    told = json.loads(ended.out)
    assert {row["task"] for row in told["rows"]} == {"colour", "light"} and (here / "both" / "tasks.json").exists()

    picture = table.parent / "3.png"
    answers = json.loads(transfuse("predict", "both", picture, "--format", "json").out)
    assert answers[0]["tasks"]["colour"]["class"] in ("red", "green")
    assert answers[0]["tasks"]["light"]["values"].keys() == {"light"}
    shown = transfuse("predict", "both", picture).out
    assert "colour" in shown and "light" in shown and picture.name in shown  # long paths are folded

    measured = transfuse("evaluate", "both/light", table, "--format", "json")
    assert measured.code == 0 and json.loads(measured.out)["rows"][0]["value"]["n"] == 48
    refused = transfuse("evaluate", "both", table)
    assert refused.code == 1 and "Name one: colour, light" in refused.err
    again = transfuse("transfer", "both/colour", table, "--target", "colour", "--path-column", "path",
                      "--method", "probe", "--out", "again", "--quiet")  # fmt: skip
    assert again.code == 0, again.err


def test_columns_of_a_table_are_shared_without_the_other_target(transfuse, here):
    random = np.random.default_rng(0)
    x_NK = random.normal(size=(60, 3))
    rows = [f"{a:.3f},{b:.3f},{c:.3f},{'yes' if a > 0 else 'no'},{b + c:.3f}" for a, b, c in x_NK]
    Path("t.csv").write_text("\n".join(["a,b,c,won,sum", *rows]))
    data = ("won=t.csv", "sum=t.csv", "--target", "won", "--target", "sum", "--modality", "table")
    ended = transfuse("transfer", "table:network", *data, *SHARED, "--rate", "0.001", "--out", "both", "--quiet")
    assert ended.code == 0, ended.err
    models = tr.load("both")
    assert [column.name for column in models["won"].preprocessing.columns] == ["a", "b", "c"]
    answers = json.loads(transfuse("predict", "both", "t.csv", "--format", "json").out)
    assert len(answers) == 60 and answers[0]["tasks"].keys() == {"won", "sum"}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("{t}", "{t}", "--method", "finetune"), "DATA must be one for `--method finetune`, but are 2"),
        (("{t}", "--method", "shared", "--target", "colour"), "at least two tasks, but has 1"),
        (("{t}", "{t}", "--method", "shared", "--target", "colour"), "once for each of the 2 DATA, but is 1 times"),
        (("{t}", "{t}", "--method", "shared", "--target", "colour", "--target", "light"), "write NAME=DATA"),
        (("a={t}", "b={t}", "--method", "shared", "--set", "balancing=gradnrom"), "Did you mean 'gradnorm'"),
    ],
)
def test_mistakes_are_one_message(transfuse, here, table, source, arguments, words):
    given = [argument.format(t=table) for argument in arguments]
    ended = transfuse("transfer", source, *given, "--size", 32, "--path-column", "path", "--quiet")
    assert ended.code == 2 and words in ended.err and not (here / "model").exists()


def test_a_killed_command_goes_on_where_it_was(here, table, source, trained):
    """SIGKILL while the first own model is trained: the same command then ends as one that was never killed."""

    def command(out: str) -> list[str]:
        target = ["--target", "colour", "--target", "light", "--path-column", "path"]
        given = [
            f"colour={table}",
            f"light={table}",
            *target,
            *map(str, trained),
            *SHARED,
            "--steps",
            "12",
            "--validate-every",
            "2",
        ]
        return [sys.executable, "-m", "transfuse", "transfer", source, *given, "--patience", "0", "--out", out]

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    finished = subprocess.run(command("whole"), env=environment, capture_output=True, text=True, check=True)
    process = subprocess.Popen(command("again"), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    runs = here.parent / "cache" / "runs"
    while process.poll() is None and not any(runs.glob("*/alone-0/training.safetensors")):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL and not Path("again").exists()
    assert any(runs.glob("*/together/finished.safetensors"))
    resumed = subprocess.run(command("again"), env=environment, capture_output=True, text=True, check=True)
    assert json.loads(resumed.stdout)["rows"] == json.loads(finished.stdout)["rows"]
    for task in ("colour", "light"):
        name = f"{task}/model.safetensors"
        assert (Path("again") / name).read_bytes() == (Path("whole") / name).read_bytes()
    assert not list(runs.glob("*"))
