"""Ctrl-C, SIGTERM and kill in the middle of a command, on processes of their own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from transfuse.core.digests import of_file
from transfuse.predicting.folder import load

PATIENCE = 120  # seconds until a child must have come so far; the machine may be busy


@pytest.fixture
def start(here):
    """Start a command line in a child process; its messages go to a file."""
    children = []

    def begin(*arguments: object) -> subprocess.Popen:
        with (here / "err.txt").open("w") as messages:
            command = [sys.executable, "-m", "transfuse", *map(str, arguments)]
            with ctrl_c_heard():
                child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=messages, env=dict(os.environ))
        children.append(child)
        return child

    yield begin
    for child in children:
        child.kill()
        child.wait()


@contextlib.contextmanager
def ctrl_c_heard():
    """What runs in the background of a shell has Ctrl-C ignored, and its children would have it with it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def wait_until(child: subprocess.Popen, happened) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        assert child.poll() is None, "the command ended before it could be stopped"
        assert time.monotonic() < end, "the command did not come so far"
        time.sleep(0.002)


def checkpoint(here: Path) -> bool:
    return any((here.parent / "cache" / "runs").glob("*/training.safetensors"))


def finished(child: subprocess.Popen, here: Path) -> str:
    """What the command said, once it has ended well."""
    assert child.wait(PATIENCE) == 0, (here / "err.txt").read_text()
    return (here / "err.txt").read_text()


def test_after_a_kill_the_same_command_goes_on_to_the_same_weights(start, here, photos, source, trained, monkeypatch):
    arguments = ("transfer", source, photos, "--out", "m", *trained, "--steps", 80, "--patience", 0,
                 "--augmentation", "light")  # fmt: skip
    child = start(*arguments)
    wait_until(child, lambda: checkpoint(here))
    child.send_signal(signal.SIGKILL)
    assert child.wait(PATIENCE) == -signal.SIGKILL
    assert checkpoint(here) and not (here / "m").exists()
    assert "resumed" in finished(start(*arguments), here)
    assert not checkpoint(here)
    first = of_file(here / "m" / "model.safetensors")

    monkeypatch.setenv("TRANSFUSE_CACHE", str(here.parent / "another cache"))
    assert "resumed" not in finished(start(*arguments), here)
    assert of_file(here / "m" / "model.safetensors") == first


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_keeps_the_best_so_far_and_the_checkpoint(number, start, here, photos, source, trained):
    child = start("transfer", source, photos, "--out", "m", *trained, "--steps", 100_000, "--validate-every", 5,
                  "--patience", 0)  # fmt: skip
    wait_until(child, lambda: checkpoint(here))
    child.send_signal(number)
    assert child.wait(PATIENCE) == 128 + number, (here / "err.txt").read_text()
    assert load(here / "m").provenance.options["found"]["stopped_by"] == "interrupt"
    assert checkpoint(here) and "goes on from there" in (here / "err.txt").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stop_before_there_is_anything_ends_without_traceback(number, start, here, photos, source, trained):
    child = start("transfer", source, photos, "--out", "m", *trained, "--steps", 100_000, "--validate-every", 90_000)
    wait_until(child, lambda: "training" in (here / "err.txt").read_text())
    child.send_signal(number)
    assert child.wait(PATIENCE) == 128 + number
    messages = (here / "err.txt").read_text()
    assert "Traceback" not in messages and messages.strip().endswith("takes up where it stopped.")
    assert not (here / "m").exists()
