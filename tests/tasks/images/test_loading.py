import threading
from pathlib import Path

import numpy as np
import pytest

from transfuse.core.errors import DataError
from transfuse.core.nouns import Preprocessing
from transfuse.tasks.images.decoding import decode, resize
from transfuse.tasks.images.loading import batch, batches

HOW = Preprocessing(size=(20, 24), mean=(0.0,) * 3, std=(1.0,) * 3)


@pytest.fixture
def paths(foldered) -> list[Path]:
    return sorted(foldered({"a": 21}).rglob("*.png"))


def test_a_batch_is_its_pictures_decoded_and_resized(paths: list[Path]) -> None:
    expected = np.stack([resize(decode(path), HOW) for path in paths])
    for workers in (1, 3):
        np.testing.assert_array_equal(batch(paths, HOW, workers), expected)
    assert batch([], HOW).shape == (0, 20, 24, 3)


@pytest.mark.parametrize("prefetch", [1, 2, 50])
def test_batches_come_in_order_whatever_is_prefetched(paths: list[Path], prefetch: int) -> None:
    parts = list(batches(paths, HOW, batch_size=8, workers=2, prefetch=prefetch))
    assert [len(part) for part in parts] == [8, 8, 5]
    np.testing.assert_array_equal(np.concatenate(parts), batch(paths, HOW, 1))


def test_grey_when_the_network_takes_one_channel(paths: list[Path]) -> None:
    assert batch(paths[:2], Preprocessing(size=(8, 8), mean=(0.0,), std=(1.0,))).shape == (2, 8, 8, 1)


def test_a_file_that_breaks_later_is_named(paths: list[Path]) -> None:
    paths[9].write_bytes(b"gone")
    with pytest.raises(DataError, match=str(paths[9])):
        batch(paths, HOW, 2)
    with pytest.raises(DataError, match=str(paths[9])):
        list(batches(paths, HOW, batch_size=4, workers=2))


def test_an_iterator_left_early_ends_its_threads(paths: list[Path]) -> None:
    before = threading.active_count()
    iterator = batches(paths, HOW, batch_size=2, workers=2, prefetch=2)
    next(iterator)
    iterator.close()
    assert threading.active_count() == before
