"""The verb: a child with limits, whatever a file does to it; folders; what is remembered."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from transfuse.core.errors import MissingExtra, UsageError
from transfuse.core.runs import Run
from transfuse.weights.scanning import child, remembering, scan, second_opinion
from transfuse.weights.scanning.findings import Finding, Judgement, judgement_of, worst

REJECTED = Finding(verdict="reject", rule="x", reason="It is bad.", where="a.pt!b", byte=3, advice="Leave it.")


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRANSFUSE_CACHE", str(tmp_path_factory.mktemp("cache")))


def judgement(path: Path, *findings: Finding) -> Judgement:
    return Judgement(path=str(path), kind="npy", size=4, digest="d" * 64, findings=findings, seconds=0.1)


def test_the_worst_finding_is_the_verdict() -> None:
    ask = dataclasses.replace(REJECTED, verdict="ask")
    assert worst([]) == "accept" and worst([ask]) == "ask" and worst([ask, REJECTED, ask]) == "reject"


def test_a_judgement_survives_the_way_through_json() -> None:
    one = judgement(Path("a.pt"), REJECTED)
    assert judgement_of(json.loads(json.dumps(dataclasses.asdict(one)))) == one
    with pytest.raises(ValueError, match="not a judgement"):
        judgement_of({"path": "a"})


def test_text_is_accepted_and_an_empty_file_is_not(tmp_path: Path) -> None:
    (tmp_path / "readme.md").write_text("Use `os.system` with care.")
    (tmp_path / "weights.pt").touch()
    seen: list[int] = []
    run = Run(watch=lambda event: seen.append(event["done"]))
    found = {one.kind: one for one in scan.scan(tmp_path, run=run)}
    text, empty = found["text"], found["empty"]
    assert (text.kind, text.verdict) == ("text", "accept")
    assert (empty.verdict, empty.findings[0].rule) == ("reject", "empty")
    assert seen[:2] == [1, 2]


@pytest.mark.parametrize(
    "text", ["cat\ndog\nperson\nbus\n", "path\tbytes\n", "person\nbicycle\ncar\n", "Say it with care."]
)
def test_words_are_no_pickle(tmp_path: Path, text: str) -> None:
    (tmp_path / "classes.names").write_text(text)
    assert [one.kind for one in scan.scan(tmp_path / "classes.names")] == ["text"]


def test_what_is_no_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.pt")
    (tmp_path / "zero.pt").symlink_to("/dev/zero")
    (tmp_path / "gone.pt").symlink_to(tmp_path / "nowhere")
    for name in ("pipe.pt", "zero.pt", "gone.pt"):
        (found,) = scan.scan(tmp_path / name)
        assert found.verdict == "reject"


def test_a_path_that_is_not_there_is_the_callers_mistake(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not there"):
        scan.scan(tmp_path / "nothing.pt")


@pytest.mark.parametrize("command", [["sleep", "60"], ["false"], ["echo", "{"], ["echo", "5"]])
def test_a_child_that_hangs_or_dies_means_a_rejection_and_the_next_file_is_judged(
    tmp_path: Path, command: list[str]
) -> None:
    (tmp_path / "a.txt").write_text("text")
    with scan.Judge(2**31, 1, False) as judge:
        good, judge._command = judge._command, command
        bad = judge.judge_file(tmp_path / "a.txt")
        judge._command = good
        assert bad.verdict == "reject" and bad.findings[0].rule == "limits"
        assert judge.judge_file(tmp_path / "a.txt").verdict == "accept"


def test_the_child_imports_nothing_from_the_folder_it_runs_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "json.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(tmp_path)
    scan.scan(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_verdicts_are_remembered_by_the_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembering, "_WORTH", 1)
    path, asked = tmp_path / "a.npy", []

    def judge_file(path: Path) -> Judgement:
        asked.append(path)
        return dataclasses.replace(judgement(path, REJECTED), digest=remembering.digests.of_file(path))

    judged = remembering.remembered(judge_file, strict=False)
    path.write_bytes(b"same")
    first = judged(path)
    assert judged(path).findings == first.findings and len(asked) == 1
    (tmp_path / "b.npy").write_bytes(b"same")
    assert judged(tmp_path / "b.npy").path.endswith("b.npy") and len(asked) == 1
    path.write_bytes(b"else")
    judged(path)
    assert len(asked) == 2
    remembering.remembered(judge_file, strict=True)(path)
    assert len(asked) == 3


@pytest.mark.parametrize("kind", ["onnx", "tensorflow-index", "unknown"])
def test_what_depends_on_its_neighbours_is_judged_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr(remembering, "_WORTH", 1)
    (tmp_path / "m").write_bytes(b"same")
    one = dataclasses.replace(judgement(tmp_path / "m"), kind=kind, digest=remembering.digests.of_file(tmp_path / "m"))
    asked: list[Path] = []
    judged = remembering.remembered(lambda path: (asked.append(path), one)[1], strict=False)
    judged(tmp_path / "m")
    judged(tmp_path / "m")
    assert len(asked) == 2


def test_a_remembered_verdict_that_was_changed_is_not_believed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remembering, "_WORTH", 1)
    path = tmp_path / "a.npy"
    path.write_bytes(b"same")
    bad = dataclasses.replace(judgement(path, REJECTED), digest=remembering.digests.of_file(path))
    judged = remembering.remembered(lambda path: bad, strict=False)
    judged(path)
    (stored,) = (remembering.cache_folder() / "scans").glob("*/*.json")
    document = json.loads(stored.read_text())
    stored.write_text(json.dumps({**document, "findings": []}))
    assert judged(path).verdict == "reject"
    stored.write_text(stored.read_text()[:-20])
    assert judged(path).verdict == "reject"


def test_rules_that_change_forget_what_was_judged() -> None:
    assert len(remembering.rules()) == 64


def test_a_second_opinion_without_its_tool_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "picklescan.scanner", None)
    with pytest.raises(MissingExtra, match=r"transfuse\[strict\]"):
        scan.scan(tmp_path, strict=True)


def test_a_second_opinion_names_what_it_holds_to_be_dangerous(tmp_path: Path) -> None:
    pytest.importorskip("picklescan")
    path = tmp_path / "a.pkl"
    path.write_bytes(b"cos\nsystem\n(Vtrue\ntR.")
    (found,) = second_opinion.second_opinion(path)
    assert found.verdict == "reject" and "system" in found.reason
    path.write_bytes(b"}.")
    assert list(second_opinion.second_opinion(path)) == []


@pytest.mark.skipif(sys.platform != "linux", reason="asks the kernel of Linux")
def test_the_child_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    code = "import os, sys\nfrom transfuse.weights.scanning import scan\njudge = scan.Judge(2**31, 30, False)\n"
    code += "print(judge._running().pid, flush=True)\njudge.judge_file(__import__('pathlib').Path(sys.argv[1]))\n"
    code += "os.kill(os.getpid(), 9)"
    (tmp_path / "a.txt").write_text("text")
    ended = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "a.txt")],
        check=False,
        capture_output=True,
        text=True,
        env=child.environment(),
    )
    assert ended.returncode == -9
    deadline = time.monotonic() + 20
    while Path("/proc", ended.stdout.strip()).exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path("/proc", ended.stdout.strip()).exists()
