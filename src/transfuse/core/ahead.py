"""Work done ahead of its consumer by threads, its results in order."""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Given = TypeVar("Given")
Made = TypeVar("Made")


def ahead(
    work: Callable[[Given], Made],
    given: Iterable[Given],
    *,
    workers: int,
    waiting: int,
    prepare: Callable[[], None] = lambda: None,
) -> Generator[Made]:
    """`work` of everything given, in order, by `workers` threads that keep at most `waiting` results ready.

    prepare is called once in each thread. An error of `work` is raised when its turn comes; closing the iterator ends
    the threads.
    """
    rest = iter(given)
    pool = ThreadPoolExecutor(workers, "ahead", prepare)
    begun: deque[Future[Made]] = deque(pool.submit(work, item) for item in islice(rest, max(1, waiting)))
    try:
        while begun:
            made = begun.popleft().result()
            begun.extend(pool.submit(work, item) for item in islice(rest, 1))
            yield made
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
