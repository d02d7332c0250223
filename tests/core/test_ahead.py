import threading
import time

import pytest

from transfuse.core.ahead import ahead


def test_results_come_in_order_whatever_takes_long():
    def work(number: int) -> int:
        time.sleep(0.02 if number % 3 == 0 else 0)
        return number * number

    assert list(ahead(work, range(20), workers=4, waiting=8)) == [n * n for n in range(20)]


def test_no_more_is_begun_than_may_wait():
    begun = []
    results = ahead(begun.append, range(100), workers=2, waiting=3)
    next(results)
    time.sleep(0.05)
    assert len(begun) <= 4
    results.close()


def test_an_error_is_raised_in_its_turn_and_ends_the_threads():
    def work(number: int) -> int:
        if number == 2:
            raise ValueError("the third")
        return number

    results = ahead(work, range(50), workers=2, waiting=4)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(ValueError, match="the third"):
        next(results)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_every_thread_is_prepared_once():
    prepared = []
    list(ahead(lambda n: time.sleep(0.01), range(8), workers=2, waiting=8, prepare=lambda: prepared.append(1)))
    assert len(prepared) == 2
