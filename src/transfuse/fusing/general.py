"""The path of every method: blocks as torch tensors, handed to the functions of `fusing/weights`."""

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from transfuse.core.errors import WeightsError
from transfuse.fusing.compiled import too_large
from transfuse.fusing.pieces import Files, Stream, streams_of
from transfuse.fusing.planning import Work
from transfuse.fusing.recipes import Recipe
from transfuse.fusing.weights import merging
from transfuse.fusing.weights.merging import Operands, Read, finite
from transfuse.fusing.weights.trimming import Survey
from transfuse.weights.headers import Dtype


def merged(recipe: Recipe, work: Work, streams: Sequence[Stream], survey: Survey | None) -> Iterator[np.ndarray]:
    """The tensor in its type, as bytes, block after block. `streams`: the base last when there is one."""
    statistics = _statistics(work)
    blocks = merging.blocks_of(
        recipe.method, operands(work, streams, statistics), work.options, seed=recipe.seed, compat=recipe.compat,
        survey=survey,
    )  # fmt: skip
    for block in blocks:
        yield _stored(block, work).contiguous().view(torch.uint8).numpy()


def operands(work: Work, streams: Sequence[Stream], statistics: tuple[torch.Tensor, ...] = ()) -> Operands:
    """One tensor of every parent, to read in blocks."""
    reads = [_reading(stream) for stream in streams]
    parents = len(work.entries)
    return Operands(
        name=work.name,
        shape=work.shape,
        parents=tuple(reads[:parents]),
        base=reads[parents] if work.base else None,
        statistics=statistics,
    )


def surveyed(works: Sequence[Work], files: Files) -> Survey:
    """What a method that looks beyond one tensor learns of the whole model first."""
    return merging.surveyed([(operands(work, streams_of(work, files)), work.options) for work in works])


@contextlib.contextmanager
def one_thread_each() -> Iterator[None]:
    """Our threads share out tensors; torch's own would only get in their way, and change the order of sums."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _torch(dtype: Dtype) -> torch.dtype:
    found: torch.dtype = getattr(torch, dtype.name)
    return found


def _elements(stream: Stream, start: int, stop: int) -> torch.Tensor:
    return torch.from_numpy(stream.elements(start, stop)).view(_torch(stream.entry.dtype))


def _statistics(work: Work) -> tuple[torch.Tensor, ...]:
    files = Files()
    try:
        streams = [Stream(entry, files) for entry in work.statistics]
        return tuple(_elements(s, 0, s.entry.count).reshape(s.entry.shape) for s in streams)
    finally:
        files.close()


def _reading(stream: Stream) -> Read:
    """A tensor in blocks of float32; raises `WeightsError` when a number is not finite."""

    def read(start: int, stop: int) -> torch.Tensor:
        try:
            return finite(_elements(stream, start, stop).float())
        except WeightsError as error:
            raise stream.told(error) from None

    return read


def _stored(block: torch.Tensor, work: Work) -> torch.Tensor:
    """A block in the type of the result. Raises `WeightsError` when it does not hold the numbers."""
    dtype = _torch(work.dtype)
    if block.dtype == dtype:
        return block
    if dtype in (torch.float8_e4m3fn, torch.float8_e5m2):
        limit = torch.finfo(dtype).max
        return block.clamp(-limit, limit).to(dtype)  # a cast past the limit gives NaN
    stored = block.to(dtype)
    if not bool(torch.isfinite(stored.sum(dtype=torch.float32))) and not bool(torch.isfinite(stored).all()):
        raise too_large(work)
    return stored
