import math
import time
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from transfuse.core.runs import Run


def test_a_run_without_a_deadline_has_all_the_time():
    assert Run().remaining() == math.inf


def test_what_is_left_shrinks_to_the_deadline():
    run = Run(deadline=time.monotonic() + 60)
    assert 59 < run.remaining() <= 60
    assert Run(deadline=time.monotonic() - 1).remaining() < 0


def test_a_part_has_a_checkpoint_folder_of_its_own():
    run = Run(checkpoints=Path("runs"), device="cpu")
    part = run.part("probe").part("fit")
    assert part.checkpoints == Path("runs/probe/fit") and part.device == "cpu"
    assert Run().part("probe").checkpoints is None


def test_a_part_never_outlives_the_whole():
    run = Run(deadline=time.monotonic() + 10)
    assert run.part("a", seconds=100).deadline == run.deadline
    assert run.part("a").deadline == run.deadline
    assert 4 < run.part("a", seconds=5).remaining() <= 5
    assert 4 < Run().part("a", seconds=5).remaining() <= 5


def test_the_watcher_is_silent_unless_given():
    heard = []
    event = {"stage": "training", "done": 1, "total": 2, "text": ""}
    assert Run().watch(event) is None
    Run(watch=heard.append).part("x").watch(event)
    assert heard == [event]


def test_a_run_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        Run().device = "cuda"  # type: ignore[misc]
