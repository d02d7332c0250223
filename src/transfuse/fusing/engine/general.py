"""The path of every method: blocks as torch tensors, handed to the functions of `fusing/weights`."""

import contextlib
from collections.abc import Iterator, Sequence

import numpy as np
import torch

from transfuse.core.errors import WeightsError
from transfuse.fusing.engine.compiled import too_large
from transfuse.fusing.inputs.computed import cast, whole
from transfuse.fusing.planning import Work
from transfuse.fusing.recipes import Recipe
from transfuse.fusing.weights import merging
from transfuse.fusing.weights.merging import Operands, Read, finite
from transfuse.fusing.weights.trimming import Survey
from transfuse.weights.pieces import Files, Stream


def merged(recipe: Recipe, work: Work, streams: Sequence[Stream], survey: Survey | None) -> Iterator[np.ndarray]:
    """The tensor in its type, as bytes, block after block. `streams`: the base last when there is one."""
    blocks = merging.blocks_of(
        recipe.method, operands(work, streams), work.options, seed=recipe.seed, compat=recipe.compat,
        survey=survey,
    )  # fmt: skip
    for block in blocks:
        yield _stored(block, work).contiguous().view(torch.uint8).numpy()


def operands(work: Work, streams: Sequence[Stream]) -> Operands:
    """One tensor of every parent, to read in blocks."""
    reads = [_reading(stream) for stream in streams]
    parents = len(work.entries)
    return Operands(
        name=work.name,
        shape=work.shape,
        parents=tuple(reads[:parents]),
        base=reads[parents] if work.base else None,
        statistics=tuple(whole(entry) for entry in work.statistics),
    )


def surveyed(works: Sequence[Work], files: Files) -> Survey:
    """What a method that looks beyond one tensor learns of the whole model first."""
    return merging.surveyed([(operands(work, files.streams(work.operands)), work.options) for work in works])


@contextlib.contextmanager
def one_thread_each() -> Iterator[None]:
    """Our threads share out tensors; torch's own would only get in their way, and change the order of sums."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _elements(stream: Stream, start: int, stop: int) -> torch.Tensor:
    return torch.from_numpy(stream.elements(start, stop)).view(stream.entry.dtype.torch)


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
    if block.dtype == work.dtype.torch:
        return block
    stored = cast(block, work.dtype)
    if work.dtype.itemsize == 1 or torch.isfinite(stored.sum(dtype=torch.float32)) or torch.isfinite(stored).all():
        return stored
    raise too_large(work)
