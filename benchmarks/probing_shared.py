"""What the benchmarks of heads share: real features, time of one thread, and memory beside what there is already."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil
from transfer import sources

import transfuse as tr
from transfuse.sources.extraction import features
from transfuse.sources.opening import open_source

Result = TypeVar("Result")


def real_features(data: Path, weights: Path, seed: int, depths: int = 0) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Standardised features and labels of the training split, for each source of `transfer.py`.

    With `depths`, of each of that many last depths instead of what a head sees.
    """
    task = tr.task(str(data), seed=seed)
    found = {}
    for name, source in sources(weights).items():
        opened = open_source(source)
        names = opened.depths[-depths:] if depths else ("final",)
        for depth in names:
            of = features(opened, task, "train", depth)
            assert not isinstance(of, dict)  # one depth
            found[f"{name} {depth}" if depths else name] = standardised(np.asarray(of.x_ND)), np.asarray(of.y_N)
    return found


def standardised(x: np.ndarray) -> np.ndarray:
    """Mean 0 and deviation 1, float32."""
    x = x - x.mean(axis=0, dtype=np.float64)
    deviation = x.std(axis=0, dtype=np.float64)
    return (x / np.where(deviation > 0, deviation, 1)).astype(np.float32)


def timed(work: Callable[[], Result]) -> tuple[Result, float, float]:
    """Result, CPU-seconds of this process, and the cores that other processes kept busy meanwhile."""
    busy, own, wall = _busy(), time.process_time(), time.perf_counter()
    result = work()
    own, wall = time.process_time() - own, time.perf_counter() - wall
    return result, own, max(0.0, (_busy() - busy - own) / wall)


def megabytes(work: Callable[[], Result]) -> tuple[Result, float]:
    """Result, and by how much the process grows at most meanwhile (Linux)."""
    before = psutil.Process().memory_info().rss
    Path("/proc/self/clear_refs").write_text("5")  # the largest size so far is forgotten
    result = work()
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return result, (int(line.split()[1]) * 1024 - before) / 1e6


def _busy() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.system + times.nice)
