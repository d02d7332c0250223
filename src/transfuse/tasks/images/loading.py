"""Decoding many pictures at once: threads decode ahead while the consumer computes.

Threads suffice: Pillow gives up the interpreter's lock while it decodes and resizes.
Letters: B pictures of a batch; h, w, C as the preprocessing says.
"""

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import Any

import numpy as np

from transfuse.core.nouns import Preprocessing
from transfuse.tasks.images.decoding import decode_to

_CHUNK = 8  # pictures a thread takes at a time: few enough to share the work, many enough to be cheap


def default_workers() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def batch(items: Sequence[Any], preprocessing: Preprocessing, workers: int | None = None) -> np.ndarray:
    """All items, decoded in parallel: uint8 (B, h, w, C). Raises `DataError` naming an item that cannot be read."""
    workers = min(workers or default_workers(), -(-len(items) // _CHUNK))
    pictures = _room(len(items), preprocessing)
    if workers <= 1:
        _fill(pictures, items, preprocessing)
        return pictures
    with ThreadPoolExecutor(workers, "decoding") as pool:
        for done in _submitted(pool, pictures, items, preprocessing):
            done.result()
    return pictures


def batches(
    items: Sequence[Any],
    preprocessing: Preprocessing,
    batch_size: int = 64,
    workers: int | None = None,
    prefetch: int = 4,
) -> Iterator[np.ndarray]:
    """Batches in the order of `items`, uint8 (B, h, w, C), the last one perhaps smaller.

    At most `prefetch` batches are decoded ahead of the consumer. Closing the iterator ends the threads.
    """
    starts = iter(range(0, len(items), batch_size))
    waiting: deque[tuple[np.ndarray, list[Future[None]]]] = deque()
    pool = ThreadPoolExecutor(workers or default_workers(), "decoding")

    def begin(start: int) -> None:
        part = items[start : start + batch_size]
        pictures = _room(len(part), preprocessing)
        waiting.append((pictures, _submitted(pool, pictures, part, preprocessing)))

    try:
        for start in islice(starts, max(1, prefetch)):
            begin(start)
        while waiting:
            pictures, parts = waiting.popleft()
            for part in parts:
                part.result()
            for start in islice(starts, 1):
                begin(start)
            yield pictures
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _room(count: int, preprocessing: Preprocessing) -> np.ndarray:
    return np.empty((count, *preprocessing.size, preprocessing.channels), np.uint8)


def _submitted(
    pool: ThreadPoolExecutor, pictures: np.ndarray, items: Sequence[Any], preprocessing: Preprocessing
) -> list[Future[None]]:
    return [
        pool.submit(_fill, pictures[start : start + _CHUNK], items[start : start + _CHUNK], preprocessing)
        for start in range(0, len(items), _CHUNK)
    ]


def _fill(pictures: np.ndarray, items: Sequence[Any], preprocessing: Preprocessing) -> None:
    for place, item in enumerate(items):
        pictures[place] = decode_to(item, preprocessing)
