"""The process in which files are judged: limited in memory and time, so that the worst a file can do is to be refused.

Run as `python -P -m transfuse.weights.scanning.child MEMORY SECONDS STRICT`. Each line of its input is a path in JSON,
each line of its output the judgement. `-P` keeps Python from importing what lies in the working folder.
"""

import contextlib
import ctypes
import dataclasses
import gc
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from transfuse.weights.scanning.findings import Judgement
from transfuse.weights.scanning.inspecting import judge_file

_PR_SET_PDEATHSIG = 1
_PARENT = "TRANSFUSE_PARENT"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def command(module: str, *arguments: object) -> list[str]:
    """The command line of a child that runs a module of this package."""
    return [sys.executable, "-P", "-m", module, *map(str, arguments)]


def environment() -> dict[str, str]:
    """The child's environment: it finds this very package, whatever folder it runs in."""
    package = str(Path(__file__).parents[3])
    given = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    others = [place for place in given if place]  # an empty one would be the folder that it runs in
    return {**os.environ, "PYTHONPATH": os.pathsep.join((package, *others)), _PARENT: str(os.getpid())}


def main(memory: int, seconds: int, strict: bool) -> None:
    """Judge the paths of the standard input until it ends. Memory in bytes; seconds of a file, at least."""
    os.environ.update(dict.fromkeys(_THREADS, "1"))  # each thread of BLAS would reserve memory
    limit(memory)
    gc.disable()  # a pickle of many objects is judged in half the time
    for line in sys.stdin:
        path = Path(json.loads(line))
        with _alarm(allowed_seconds(path, seconds)):
            judgement = _with_second_opinion(judge_file(path)) if strict else judge_file(path)
        print(json.dumps(dataclasses.asdict(judgement)), flush=True)


def allowed_seconds(path: Path, seconds: int) -> int:
    """How long judging may take: some seconds, and two more for each GB."""
    with contextlib.suppress(OSError):
        return seconds + 2 * (path.stat().st_size // 2**30)
    return seconds


def _with_second_opinion(judgement: Judgement) -> Judgement:
    from transfuse.weights.scanning.second_opinion import second_opinion

    return dataclasses.replace(judgement, findings=(*judgement.findings, *second_opinion(Path(judgement.path))))


def limit(memory: int) -> None:
    """Let this process have no more than so many bytes, and end with the one that started it."""
    with contextlib.suppress(OSError, AttributeError):  # Linux only; elsewhere an alarm ends it
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL))
    if str(os.getppid()) != os.environ.get(_PARENT, str(os.getppid())):  # it has ended already
        sys.exit(1)
    with contextlib.suppress(ImportError):  # not on Windows
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


@contextlib.contextmanager
def _alarm(seconds: int) -> Iterator[None]:
    """The process ends when the time is over, should nobody wait for it any more."""
    if hasattr(signal, "alarm"):
        signal.alarm(seconds + 5)
    yield
    if hasattr(signal, "alarm"):
        signal.alarm(0)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3] == "strict")
