"""Streams side by side: every step shows a batch of each, and each stream as if it were alone."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from transfuse.training.batches import Activations, Batches, coming
from transfuse.training.streams import Streams


def stream(count: int, batch_size: int, start: float, seed: int = 0) -> Batches:
    rows_ND = (start + np.arange(count, dtype=np.float32))[:, None]
    return Batches(
        inputs=Activations(rows_ND),
        targets=torch.zeros(count),
        weights_N=np.ones(count, np.float32),
        batch_size=batch_size,
        seed=seed,
    )


@given(st.integers(1, 30), st.integers(1, 30), st.integers(0, 20))
def test_each_stream_shows_what_it_would_alone(many: int, few: int, step: int):
    parts = (stream(many, min(many, 8), 0), stream(few, min(few, 4), 1000))
    batch = Streams(parts=parts).at(step)
    assert len(batch.y) == sum(part.batch_size for part in parts)
    for number, part in enumerate(parts):
        alone = part.at(step)
        mine = batch.y == number
        assert torch.equal(batch.x[mine], alone.x) and torch.equal(batch.index_B[mine], alone.index_B)
        assert torch.equal(batch.view_B[mine], alone.view_B)


def test_every_piece_holds_some_of_each_stream():
    batch = Streams(parts=(stream(40, 12, 0), stream(40, 4, 1000))).at(0)
    assert all(set(piece.tolist()) == {0, 1} for piece in batch.y.chunk(4))


@pytest.mark.parametrize("workers", [0, 1, 2, 5])
def test_batches_prepared_ahead_are_those_of_their_steps(workers: int):
    streams = Streams(parts=(stream(7, 4, 0), stream(5, 4, 1000)))
    shown = [batch.x for batch in coming(streams, 2, 6, workers)]
    assert len(shown) == 4 and all(torch.equal(x, streams.at(step).x) for step, x in enumerate(shown, start=2))
    assert list(coming(streams, 3, 3, workers)) == []
