"""A search that is killed: nothing is lost, nothing is done twice, and the end is the same."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import transfuse
from transfuse.core.errors import StorageError
from transfuse.core.runs import Run
from transfuse.searching.search import Found, search
from transfuse.searching.space import Choice, Real
from transfuse.searching.strategies import Strategy

PROGRAM = """
import sys, time
from pathlib import Path
from transfuse.core.runs import Run
from transfuse.searching.search import search
from transfuse.searching.space import Choice, Real
from transfuse.searching.strategies import Strategy

folder, pause, stop_at = Path(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])
space = {
    "rate": Real(low=1e-5, high=1.0, log=True),
    "optimizer": Choice(values=("adamw", "sgd")),
    "momentum": Real(low=0, high=1, when={"optimizer": ("sgd",)}),
}
calls = 0

def score(options, effort, report):
    global calls
    calls += 1
    for done in range(1, effort + 1):
        time.sleep(pause)
        report(done, -abs(options["rate"] - 0.01) - 1 / done)
        if 0 < stop_at <= calls and done == 2:
            print("here", flush=True)
            time.sleep(600)
    with (folder / "calls.txt").open("a") as log:
        log.write(f"{options['rate']!r}\\n")
    return -abs(options["rate"] - 0.01)

strategy = Strategy(trials=16, effort=9, pruner="halving", seed=7)
search(score, space, strategy, first=[{"rate": 0.5}], run=Run(checkpoints=folder))
print("done", flush=True)
"""
STRATEGY = Strategy(trials=16, effort=9, pruner="halving", seed=7)
SPACE = {
    "rate": Real(low=1e-5, high=1.0, log=True),
    "optimizer": Choice(values=("adamw", "sgd")),
    "momentum": Real(low=0, high=1, when={"optimizer": ("sgd",)}),
}


def score(options, effort, report):
    for done in range(1, effort + 1):
        report(done, -abs(options["rate"] - 0.01) - 1 / done)
    return -abs(options["rate"] - 0.01)


def finish(folder: Path | None) -> Found:
    return search(score, SPACE, STRATEGY, first=[{"rate": 0.5}], run=Run(checkpoints=folder))


def in_short(found: Found) -> list:
    return [(a.number, a.options, a.outcome, a.score, a.effort, dict(a.reports)) for a in found.attempts]


def start(folder: Path, pause: float = 0.0, stop_at: int = 0) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(Path(transfuse.__file__).parents[1]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", PROGRAM, str(folder), str(pause), str(stop_at)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def kill(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    process.stdout.close()


def lines(path: Path) -> list[bytes]:
    return path.read_bytes().splitlines(keepends=True)


def test_a_search_killed_within_a_trial_ends_as_if_it_had_not_been(tmp_path: Path):
    process = start(tmp_path, stop_at=6)
    assert process.stdout.readline() == "here\n"
    kill(process)
    events = [json.loads(line) for line in lines(tmp_path / "journal.jsonl")]
    begun = sum(event["op_code"] == 4 for event in events)
    ended = sum(event["op_code"] == 6 and event["state"] in (1, 2, 3) for event in events)
    assert begun == ended + 1  # one trial was cut off
    began = time.monotonic()
    resumed = finish(tmp_path)
    assert time.monotonic() - began < 20  # nobody waits for the locks of the dead
    assert in_short(resumed) == in_short(finish(None))
    assert [a.number for a in resumed.attempts] == list(range(16))


def test_a_search_killed_at_any_moment_ends_as_if_it_had_not_been(tmp_path: Path):
    kills, generator = 0, random.Random(0)
    for _ in range(6):
        process = start(tmp_path, pause=0.01)
        while not (tmp_path / "journal.jsonl").exists():
            time.sleep(0.01)
        size = (tmp_path / "journal.jsonl").stat().st_size
        while process.poll() is None and (tmp_path / "journal.jsonl").stat().st_size == size:
            time.sleep(0.005)  # until it writes
        time.sleep(generator.uniform(0, 0.4))
        if process.poll() is None:
            kills += 1
        process.kill()
        process.wait()
        process.stdout.close()
    assert kills >= 2
    assert in_short(finish(tmp_path)) == in_short(finish(None))


def test_a_search_goes_on_from_any_event_of_its_journal(tmp_path: Path):
    """The journal is all that a search remembers, so a kill leaves nothing but a beginning of it."""
    whole = finish(tmp_path / "whole")
    events = lines(tmp_path / "whole" / "journal.jsonl")
    for end in range(1, len(events), 1 + len(events) // 40):
        folder = tmp_path / str(end)
        folder.mkdir()
        (folder / "journal.jsonl").write_bytes(b"".join(events[:end]) + events[end][: end % 7])
        assert in_short(finish(folder)) == in_short(whole)


def test_what_is_finished_is_not_done_again(tmp_path: Path):
    once = finish(tmp_path)
    again = search(
        lambda *_: pytest.fail("tried again"), SPACE, STRATEGY, first=[{"rate": 0.5}], run=Run(checkpoints=tmp_path)
    )
    assert in_short(again) == in_short(once)


def test_more_trials_go_on_from_the_ones_before(tmp_path: Path):
    short = search(score, SPACE, Strategy(trials=5), run=Run(checkpoints=tmp_path))
    long = search(score, SPACE, Strategy(trials=12), run=Run(checkpoints=tmp_path))
    assert in_short(long)[:5] == in_short(short)
    assert in_short(long) == in_short(search(score, SPACE, Strategy(trials=12)))


def test_searches_of_another_identity_do_not_mix(tmp_path: Path):
    one = search(score, SPACE, Strategy(trials=3), identity={"data": "a"}, run=Run(checkpoints=tmp_path))
    other = search(lambda *_: -9.0, SPACE, Strategy(trials=3), identity={"data": "b"}, run=Run(checkpoints=tmp_path))
    assert {a.score for a in other.attempts} == {-9.0} and one.best.score > -9.0


def test_an_error_of_the_score_is_shown_and_its_trial_is_tried_again(tmp_path: Path):
    def broken(options, effort, report):
        report(1, 0.0)
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        search(broken, SPACE, Strategy(trials=2), run=Run(checkpoints=tmp_path))
    found = search(score, SPACE, Strategy(trials=2), run=Run(checkpoints=tmp_path))
    assert [a.number for a in found.attempts] == [0, 1] and found.attempts[0].outcome == "finished"


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_a_half_written_line_is_cut_off(tmp_path: Path, cut: int):
    search(score, SPACE, Strategy(trials=4), run=Run(checkpoints=tmp_path))
    journal = tmp_path / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-cut])
    found = search(score, SPACE, Strategy(trials=8), run=Run(checkpoints=tmp_path))
    assert in_short(found) == in_short(search(score, SPACE, Strategy(trials=8)))
    assert all(json.loads(line) for line in lines(journal))


def test_a_journal_that_is_none_is_refused(tmp_path: Path):
    (tmp_path / "journal.jsonl").write_text('{"op_code": 4}\nsomething else\n')
    with pytest.raises(StorageError, match="journal of a search"):
        search(score, SPACE, Strategy(trials=1), run=Run(checkpoints=tmp_path))
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="not a folder"):
        search(score, SPACE, Strategy(trials=1), run=Run(checkpoints=tmp_path / "file" / "folder"))


def test_the_lock_of_a_killed_process_holds_nobody_up(tmp_path: Path):
    holding = (
        "import sys, time; from filelock import FileLock; lock = FileLock(sys.argv[1]); lock.acquire();"
        "print('held', flush=True); time.sleep(600)"
    )
    (tmp_path / "locks").mkdir()
    command = [sys.executable, "-c", holding, str(tmp_path / "locks" / "journal.lock")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    kill(process)
    began = time.monotonic()
    search(score, SPACE, Strategy(trials=1), run=Run(checkpoints=tmp_path))
    assert time.monotonic() - began < 20


def test_processes_share_the_trials(tmp_path: Path):
    workers = [start(tmp_path, pause=0.02) for _ in range(2)]
    for worker in workers:
        assert worker.communicate(timeout=120)[0] == "done\n"
    tried = (tmp_path / "calls.txt").read_text().split()
    found = finish(tmp_path)
    assert [a.number for a in found.attempts] == list(range(16))
    finished = [repr(a.options["rate"]) for a in found.attempts if a.outcome == "finished"]
    assert sorted(tried) == sorted(finished)
