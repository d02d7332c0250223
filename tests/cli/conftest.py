"""Whole commands in this process, on a random network that is small enough to be trained in a second."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from transfuse.cli.main import main

SOURCE = "random:timm:test_resnet"
SMALL = ("--size", "32")
TRAINED = (*SMALL, "--rate", "0.001", "--augmentation", "none", "--precision", "float32")


@dataclass(frozen=True)
class Ended:
    """What a command left."""

    code: int
    out: str
    err: str


Command = Callable[..., Ended]


@pytest.fixture
def transfuse(capfd: pytest.CaptureFixture[str]) -> Command:
    """Run one command line as the console script does, and give its exit code and what it wrote."""

    def run(*arguments: object) -> Ended:
        capfd.readouterr()
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as ending:
            code = ending.code
        written = capfd.readouterr()
        return Ended(int(code or 0), written.out, written.err)

    return run


@pytest.fixture(scope="session")
def model(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A saved Model of the photographs, made by the command line. Not to be changed."""
    folder = tmp_path_factory.mktemp("saved") / "model"
    main(["transfer", SOURCE, str(photos), "--method", "probe", "--out", str(folder), "--quiet", *SMALL])
    return folder


@pytest.fixture
def source() -> str:
    """A network of timm with 373 k random weights."""
    return SOURCE


@pytest.fixture
def trained() -> tuple[str, ...]:
    """Options by which training it takes a second; `--steps` is to be added."""
    return TRAINED


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder with an empty cache."""
    monkeypatch.setenv("TRANSFUSE_CACHE", os.fspath(tmp_path / "cache"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"
