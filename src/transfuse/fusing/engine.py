"""File to file: every tensor of the plan read in blocks, merged, written to its place, and noted in the journal.

Memory does not grow with the model, only with the largest tensor of a method that must see one whole. Tensors are
shared out among threads; what is written depends on neither threads nor on where an earlier run was stopped.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import torch

from transfuse.core.errors import BudgetError, WeightsError
from transfuse.core.runs import Run
from transfuse.fusing.journal import Journal
from transfuse.fusing.pieces import Files
from transfuse.fusing.planning import Plan, Work
from transfuse.fusing.recipes import Recipe
from transfuse.fusing.weights.masks import BLOCK
from transfuse.fusing.weights.merging import Survey, blocks_of, surveyed
from transfuse.weights.headers import header_of

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"


@dataclass(frozen=True, kw_only=True)
class _Shard:
    """One file of the result."""

    path: Path
    works: tuple[Work, ...]
    header: bytes
    places: Mapping[str, int]

    @property
    def nbytes(self) -> int:
        return len(self.header) + sum(work.nbytes for work in self.works)


def carried_out(
    recipe: Recipe, plan: Plan, folder: Path, *, identity: str, threads: int, shard_bytes: int, run: Run
) -> tuple[dict[str, str], int]:
    """Write the result's tensors into `folder`; the digest of each, and how many an earlier run had finished.

    Raises `WeightsError` and `OSError`; the folder then holds what the next run takes up.
    """
    result = folder / "result"
    result.mkdir(parents=True, exist_ok=True)
    shards = _shards(plan.works, result, shard_bytes)
    journal = Journal(folder / "journal.jsonl", identity)
    done = _taken_up(journal, shards)
    files = Files()
    try:
        with _one_thread_each():
            digests = _written(recipe, plan, shards, files, journal, done=done, threads=threads, run=run)
    finally:
        files.close()
    if len(shards) > 1:
        (result / INDEX).write_text(_index(shards), encoding="utf-8")
    return {work.name: digests[work.name] for work in plan.works}, len(done)


def _shards(works: Sequence[Work], folder: Path, limit: int) -> list[_Shard]:
    groups: list[list[Work]] = [[]]
    size = 0
    for work in works:
        if groups[-1] and size + work.nbytes > limit:
            groups.append([])
            size = 0
        groups[-1].append(work)
        size += work.nbytes
    found = []
    for i, group in enumerate(groups):
        name = SINGLE if len(groups) == 1 else f"model-{i + 1:05}-of-{len(groups):05}.safetensors"
        header, places = header_of({work.name: (work.dtype, work.shape) for work in group})
        found.append(_Shard(path=folder / name, works=tuple(group), header=header, places=places))
    return found


def _index(shards: Sequence[_Shard]) -> str:
    weight_map = {work.name: shard.path.name for shard in shards for work in shard.works}
    total = sum(work.nbytes for shard in shards for work in shard.works)
    return json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=1)


def _taken_up(journal: Journal, shards: Sequence[_Shard]) -> dict[str, str]:
    """What an earlier run finished and the unfinished files still hold; otherwise files are made anew."""
    noted = journal.finished()
    if noted is not None and all(s.path.is_file() and s.path.stat().st_size == s.nbytes for s in shards):
        return {
            work.name: noted[work.name]
            for shard in shards
            for work in shard.works
            if work.name in noted and digest_at(shard.path, shard.places[work.name], work.nbytes) == noted[work.name]
        }
    for stale in shards[0].path.parent.iterdir():
        stale.unlink()
    for shard in shards:
        with shard.path.open("wb") as stream:
            stream.write(shard.header)
            stream.truncate(shard.nbytes)
    journal.begin()
    return {}


def digest_at(path: Path, start: int, size: int) -> str:
    """SHA-256 of a part of a file, in constant memory."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        stream.seek(start)
        while size > 0 and (piece := stream.read(min(size, 1 << 20))):
            digest.update(piece)
            size -= len(piece)
    return digest.hexdigest()


@contextlib.contextmanager
def _one_thread_each() -> Iterator[None]:
    """Our threads share out tensors; torch's own would only get in their way, and change the order of sums."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _written(
    recipe: Recipe,
    plan: Plan,
    shards: Sequence[_Shard],
    files: Files,
    journal: Journal,
    *,
    done: Mapping[str, str],
    threads: int,
    run: Run,
) -> dict[str, str]:
    """Every tensor that is not done, over threads; the first error stops the others after their tensor."""
    survey = _survey(recipe, plan, files)
    digests = dict(done)
    total = sum(work.nbytes for work in plan.works)
    finished = sum(work.nbytes for work in plan.works if work.name in done)

    def one(shard: _Shard, handle: int, work: Work) -> None:
        nonlocal finished
        if run.remaining() <= 0:
            raise BudgetError("The time was up before the fusion was. The same command goes on from there.")
        digests[work.name] = _write(recipe, work, files, handle, shard.places[work.name], survey)
        journal.add(work.name, digests[work.name])
        finished += work.nbytes
        run.watch({"stage": "fusing", "done": finished >> 20, "total": total >> 20, "text": f"MB; {work.name}"})

    for shard in shards:
        handle = os.open(shard.path, os.O_WRONLY)
        try:
            with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
                left = [pool.submit(one, shard, handle, work) for work in shard.works if work.name not in done]
                finished_ones, waiting = wait(left, return_when=FIRST_EXCEPTION)
                for future in waiting:
                    future.cancel()
                for future in finished_ones:
                    future.result()
        finally:
            os.close(handle)
    return digests


def tensors(recipe: Recipe, plan: Plan) -> dict[str, torch.Tensor]:
    """The result in memory, bit for bit what would be written: for trials whose result is not kept."""
    files, found = Files(), {}
    try:
        with _one_thread_each():
            survey = _survey(recipe, plan, files)
            for work in plan.works:
                blocks = [_stored(block, work) for block in _blocks(recipe, work, files, survey)]
                found[work.name] = (torch.cat(blocks) if blocks else torch.zeros(0)).reshape(work.shape)
    finally:
        files.close()
    return found


def _survey(recipe: Recipe, plan: Plan, files: Files) -> Survey | None:
    """The thresholds of a method that trims over the whole model."""
    works = [work for work in plan.works if work.fate == "merged" and work.options.get("trim") == "model"]
    return surveyed([(files.operands(work), work.options) for work in works]) if works else None


def _write(recipe: Recipe, work: Work, files: Files, handle: int, place: int, survey: Survey | None) -> str:
    """One tensor to its place; the digest of its bytes."""
    digest = hashlib.sha256()
    for block in _blocks(recipe, work, files, survey):
        data = memoryview(_stored(block, work).contiguous().view(torch.uint8).numpy().data)
        digest.update(data)
        while data:
            written = os.pwrite(handle, data, place)
            place, data = place + written, data[written:]
    return digest.hexdigest()


def _blocks(recipe: Recipe, work: Work, files: Files, survey: Survey | None) -> Iterator[torch.Tensor]:
    if work.fate == "copied":
        entry = work.entries[0]
        for start in range(0, entry.count, BLOCK):
            yield files.elements(entry, start, min(start + BLOCK, entry.count))
        return
    yield from blocks_of(
        recipe.method, files.operands(work), work.options, seed=recipe.seed, compat=recipe.compat, survey=survey
    )


def _stored(block: torch.Tensor, work: Work) -> torch.Tensor:
    """A block in the type of the result. Raises `WeightsError` when it does not hold the numbers."""
    if block.dtype == work.dtype:
        return block
    if work.dtype in (torch.float8_e4m3fn, torch.float8_e5m2):
        limit = torch.finfo(work.dtype).max
        return block.clamp(-limit, limit).to(work.dtype)  # a cast past the limit gives NaN
    stored = block.to(work.dtype)
    if not bool(torch.isfinite(stored.sum(dtype=torch.float32))) and not bool(torch.isfinite(stored).all()):
        raise WeightsError(
            f"'{work.name}' must fit {str(work.dtype).removeprefix('torch.')}, but is larger than it holds. Choose"
            " --dtype bfloat16 or float32."
        )
    return stored
