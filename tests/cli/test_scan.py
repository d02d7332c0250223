"""`scan` and `convert` as commands: exit codes, JSON, SARIF, and files that nobody should open."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

ACCEPT, REJECT, USAGE, ASK = 0, 1, 2, 3


class Payload:
    """Makes a marker file when it is unpickled as pickle does."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.system, (f"touch '{self.marker}'",)


@pytest.fixture
def files(here: Path) -> Path:
    """A folder of an ordinary, a doubtful and a hostile file."""
    save_file({"a": torch.ones(2, 3)}, here / "fine.safetensors")
    torch.save({"a": torch.arange(6.0).reshape(2, 3), "b": torch.zeros(4, dtype=torch.int64)}, here / "fine.pt")
    torch.save(nn.Linear(3, 2), here / "module.pt")
    torch.save({"a": torch.ones(2), "b": Payload(here / "ran")}, here / "hostile.pt")
    return here


@pytest.mark.parametrize(("names", "code"), [
    (["fine.pt"], ACCEPT), (["fine.pt", "fine.safetensors"], ACCEPT), (["fine.pt", "module.pt"], ASK),
    (["module.pt", "hostile.pt"], REJECT), (["."], REJECT), (["nothing.pt"], USAGE), ([], USAGE),
])  # fmt: skip
def test_the_exit_code_is_the_gravest_verdict(transfuse, files: Path, names: list[str], code: int) -> None:
    ended = transfuse("scan", *names)
    assert ended.code == code
    assert "Traceback" not in ended.err and not (files / "ran").exists()


def test_the_reason_stands_beside_the_file(transfuse, files: Path) -> None:
    ended = transfuse("scan", "hostile.pt", "fine.pt")
    assert "REJECT" in ended.out and "system" in ended.out and "1 may be opened, 1 must not be opened" in ended.out


def test_json_and_sarif_hold_every_finding(transfuse, files: Path) -> None:
    ended = transfuse("scan", ".", "--format", "json", "--quiet", "--sarif", "out/scan.sarif")
    verdicts = {Path(one["path"]).name: one["verdict"] for one in json.loads(ended.out) if Path(one["path"]).is_file()}
    assert verdicts == {
        "fine.pt": "accept", "fine.safetensors": "accept", "module.pt": "ask", "hostile.pt": "reject",
    }  # fmt: skip
    results = json.loads((files / "out/scan.sarif").read_text())["runs"][0]["results"]
    assert {result["level"] for result in results} == {"error", "warning"}


def test_a_name_cannot_steer_the_terminal(transfuse, here: Path) -> None:
    (here / "a\x1b[2Jb.pt").write_bytes(b"")
    ended = transfuse("scan", ".")
    assert "\x1b[2J" not in ended.out + ended.err


@pytest.mark.parametrize("name", ["fine.pt", "fine.safetensors"])
def test_what_is_converted_holds_the_same_tensors(transfuse, files: Path, name: str) -> None:
    ended = transfuse("convert", name, "made.safetensors")
    assert ended.code == 0 and "the same in both files" in ended.out
    made = load_file("made.safetensors")
    if name.endswith(".pt"):
        wanted = torch.load(name, weights_only=True)
        assert made.keys() == wanted.keys() and all(torch.equal(made[key], wanted[key]) for key in wanted)


def test_a_whole_module_is_converted_without_running_it(transfuse, files: Path) -> None:
    ended = transfuse("convert", "module.pt", "made.safetensors")
    assert ended.code == 0 and "runs no code" in ended.out
    assert load_file("made.safetensors").keys() == {"weight", "bias"}


def test_a_hostile_file_is_not_converted_and_leaves_nothing(transfuse, files: Path) -> None:
    (files / "made.safetensors").write_bytes(b"as it was")
    ended = transfuse("convert", "hostile.pt", "made.safetensors")
    assert ended.code == REJECT and "system" in ended.err
    assert (files / "made.safetensors").read_bytes() == b"as it was"
    assert not (files / "ran").exists() and not list(files.glob(".*.part"))


def test_the_result_must_be_called_what_it_is(transfuse, files: Path) -> None:
    ended = transfuse("convert", "fine.pt", "made.pt")
    assert ended.code == USAGE and ".safetensors" in ended.err


def test_a_limit_of_memory_is_told(transfuse, files: Path) -> None:
    ended = transfuse("convert", "fine.pt", "made.safetensors", "--memory", "0.5")
    assert ended.code == 1 and "--memory" in ended.err
