"""`scan`: may files from outside be opened? Judged in a process of its own with limits; nothing in them is run."""

import contextlib
import json
import os
import select
import subprocess
from pathlib import Path
from typing import Self

from transfuse.core.errors import UsageError
from transfuse.core.runs import Run
from transfuse.weights.scanning import child, folders, remembering
from transfuse.weights.scanning.findings import Finding, Judgement, judgement_of


def scan(
    *paths: str | Path,
    strict: bool = False,
    memory: int = 2 * 2**30,
    seconds: int = 30,
    cache: bool = True,
    run: Run | None = None,
) -> tuple[Judgement, ...]:
    """Judge files and folders from outside by their bytes, without opening or running them.

    strict: picklescan is asked as well; it can only make a verdict graver.
    memory: bytes that judging may take; a file that needs more is refused.
    seconds: of one file, and two more for each GB; a file that needs longer is refused.
    cache: verdicts are remembered by the digest of the bytes.

    Raises `UsageError` for a path that is not there, `MissingExtra` for `strict` without picklescan; nothing for what
    the bytes are.
    """
    run = run or Run()
    wanted = [_existing(path) for path in paths]
    if strict:
        from transfuse.weights.scanning.second_opinion import require_picklescan

        require_picklescan()
    total = sum(folders.count(path) for path in wanted)
    found: list[Judgement] = []
    with Judge(memory, seconds, strict) as judge:
        judged = remembering.remembered(judge.judge_file, strict) if cache else judge.judge_file
        for path in wanted:
            for judgement in folders.judge(path, judged):
                found.append(judgement)
                run.watch({"stage": "judging", "done": len(found), "total": total, "text": judgement.path})
    return tuple(found)


def _existing(path: str | Path) -> Path:
    path = Path(path)
    if not os.path.lexists(path):
        raise UsageError(f"`scan` must be given files and folders, but '{path}' is not there.")
    return path


class Judge:
    """The child process, started when it is first needed and again when a file has ended it."""

    def __init__(self, memory: int, seconds: int, strict: bool) -> None:
        self._command = child.command(child.__name__, memory, seconds, "strict" if strict else "plain")
        self._seconds, self._memory = seconds, memory
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._end()

    def judge_file(self, path: Path) -> Judgement:
        """The judgement of one file, whatever it does to the process that looks at it."""
        allowed = child.allowed_seconds(path, self._seconds)
        judgement = self._answer(path, allowed)
        if judgement is not None:
            return judgement
        ended = self._end(patience=0.2)  # one that died is about to say how
        why = f"took more than {allowed} seconds" if ended is None else f"ended with {ended}, as without memory"
        finding = Finding(
            verdict="reject",
            rule="limits",
            reason=f"The process that judged it {why}; it had {self._memory / 2**30:.2g} GiB.",
            advice="Do not open it. If it is simply large, give more: --seconds, --memory.",
        )
        return Judgement(
            path=str(path), kind="unknown", size=_size(path), digest="", findings=(finding,), seconds=float(allowed)
        )

    def _answer(self, path: Path, allowed: int) -> Judgement | None:
        process = self._running()
        assert process.stdin is not None and process.stdout is not None
        with contextlib.suppress(OSError, ValueError):  # the process ended, or ended in the middle of a line
            process.stdin.write(json.dumps(str(path)).encode() + b"\n")
            process.stdin.flush()
            if select.select([process.stdout], [], [], allowed)[0]:
                return judgement_of(json.loads(process.stdout.readline()))
        return None

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env=child.environment(),
            )
        return self._process

    def _end(self, patience: float = 0.0) -> int | None:
        """End the child; its exit code, or None when it still ran after so many seconds."""
        if self._process is None:
            return None
        process, self._process = self._process, None
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
        ended = process.returncode
        process.kill()
        process.communicate()
        return ended


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0
