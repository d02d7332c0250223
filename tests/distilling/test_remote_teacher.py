"""A teacher on a server: asked once, kept as soon as it answers, taken up where it went away."""

import pytest
from tests.distilling.conftest import QUICK
from tests.sources.test_remote import Server, address, server

import transfuse as tr
from transfuse.core.errors import SourceError, UsageError, WeightsError
from transfuse.core.nouns import Source, Task
from transfuse.sources.remote import RemoteNetwork

__all__ = ["server"]


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch) -> None:
    """A cache of its own, and blocks of eight answers."""
    monkeypatch.setenv("TRANSFUSE_CACHE", str(tmp_path))
    monkeypatch.setattr(RemoteNetwork, "block", 8)


OPTIONS = {**QUICK, "augmentation": "none", "compare": False}


def test_a_student_learns_from_a_server_that_is_asked_once(server: Server, student: Source, task: Task):
    tr.distill(address(server), student, task, **OPTIONS)
    asked = server.asked
    assert asked == 3 + 1  # 24 examples in blocks of 8, and the test split
    tr.distill(address(server), student, task, **OPTIONS)
    assert server.asked == asked + 1


def test_what_was_answered_is_kept_when_a_server_goes_away(server: Server, student: Source, task: Task):
    def leaving(x):
        if server.asked > 2:
            raise ConnectionError
        return Server.answer(x)

    server.answer = leaving
    with pytest.raises(SourceError, match="the same command goes on"):
        tr.distill(address(server), student, task, **OPTIONS)
    server.answer, server.asked = Server.answer, 0
    tr.distill(address(server), student, task, **OPTIONS)
    assert server.asked == 1 + 1  # the block that is lacking, and the test split


def test_a_server_that_answers_nonsense_is_named_with_the_example(server: Server, student: Source, task: Task):
    server.answer = lambda x: Server.answer(x) * float("nan")
    with pytest.raises(WeightsError, match="'net' does not for 'row 0'"):
        tr.distill(address(server), student, task, **OPTIONS)


def test_classes_are_those_of_the_address(server: Server, student: Source, task: Task):
    model = tr.distill(address(server, "?classes=blue,red,black"), student, task, **OPTIONS)
    assert any("2 of 3 classes" in line and "green" in line for line in model.report.summary)
    with pytest.raises(UsageError, match=r"answers for 3\. Name them"):
        tr.distill(address(server, "?classes=blue,red"), student, task, **OPTIONS)
