"""File to file: every tensor of the plan read in blocks, merged, written to its place, and noted in the journal.

Memory does not grow with the model, only with the largest tensor of a method that must see one whole. Tensors are
shared out among threads; what is written depends on neither threads nor on where an earlier run was stopped. What the
compiled kernels can do is done without loading torch.
"""

import contextlib
import ctypes
import functools
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from transfuse.core.errors import BudgetError
from transfuse.core.runs import Run
from transfuse.fusing.engine import compiled
from transfuse.fusing.engine.journal import Finished, Journal
from transfuse.fusing.planning import Plan, Work
from transfuse.fusing.recipes import Recipe
from transfuse.fusing.weights.masks import BLOCK
from transfuse.fusing.weights.trimming import Survey
from transfuse.weights.headers import Entry, header_of
from transfuse.weights.pieces import Files, Stream, digest_of, hasher

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
_BEGIN = 2  # SYNC_FILE_RANGE_WRITE
_PORTION = 1 << 22


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
) -> tuple[dict[str, Finished], int]:
    """Write the result's tensors into `folder`; the digests of each, and how many an earlier run had finished.

    Raises `WeightsError` and `OSError`; the folder then holds what the next run takes up.
    """
    result = folder / "result"
    result.mkdir(parents=True, exist_ok=True)
    shards = _shards(plan.works, result, shard_bytes)
    journal = Journal(folder / "journal.jsonl", identity)
    done = _taken_up(journal, shards)
    with Files() as files, _prepared(recipe, plan):
        finished = _written(recipe, plan, shards, files, journal, done=done, threads=threads, run=run)
    if len(shards) > 1:
        (result / INDEX).write_text(_index(shards), encoding="utf-8")
    return {work.name: finished[work.name] for work in plan.works}, len(done)


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


def _taken_up(journal: Journal, shards: Sequence[_Shard]) -> dict[str, Finished]:
    """What an earlier run finished and the unfinished files still hold; otherwise files are made anew."""
    noted = journal.finished()
    _clear(shards[0].path.parent, {shard.path.name for shard in shards})  # of a result whose place this folder took
    if noted is not None and all(s.path.is_file() and s.path.stat().st_size == s.nbytes for s in shards):
        return {
            work.name: noted[work.name]
            for shard in shards
            for work in shard.works
            if work.name in noted and _digest_at(shard, work) == noted[work.name].digest
        }
    _clear(shards[0].path.parent, set())
    for shard in shards:
        with shard.path.open("wb") as stream:
            stream.write(shard.header)
            stream.truncate(shard.nbytes)
    journal.begin()
    return {}


def _clear(folder: Path, kept: set[str]) -> None:
    for stale in folder.iterdir():
        if stale.is_dir():
            shutil.rmtree(stale)
        elif stale.name not in kept:
            stale.unlink()


def _digest_at(shard: _Shard, work: Work) -> str:
    place = shard.places[work.name]
    return digest_of(Entry(name=work.name, dtype=work.dtype, shape=work.shape, path=shard.path, start=place))


@contextlib.contextmanager
def _prepared(recipe: Recipe, plan: Plan) -> Iterator[None]:
    """torch in one thread, where it is needed."""
    if all(work.fate == "copied" or compiled.able(recipe, work) for work in plan.works):
        yield
        return
    from transfuse.fusing.engine import general

    with general.one_thread_each():
        yield


def _written(
    recipe: Recipe,
    plan: Plan,
    shards: Sequence[_Shard],
    files: Files,
    journal: Journal,
    *,
    done: Mapping[str, Finished],
    threads: int,
    run: Run,
) -> dict[str, Finished]:
    """Every tensor that is not done, over threads; the first error stops the others after their tensor."""
    survey = _survey(recipe, plan, files, threads)
    found = dict(done)
    total = sum(work.nbytes for work in plan.works)
    finished = sum(work.nbytes for work in plan.works if work.name in done)
    unit, shift = ("MB", 20) if total >> 20 else ("kB", 10)

    def one(shard: _Shard, handle: int, work: Work) -> None:
        nonlocal finished
        if run.remaining() <= 0:
            raise BudgetError("The time was up before the fusion was. The same command goes on from there.")
        found[work.name] = _write(recipe, work, files, handle, shard.places[work.name], survey)
        journal.add(work.name, found[work.name])
        finished += work.nbytes
        told = {"done": finished >> shift, "total": total >> shift}
        run.watch({"stage": "fusing", **told, "text": f"{unit}; {work.name}"})

    for shard in shards:
        handle = os.open(shard.path, os.O_WRONLY)
        try:
            with ThreadPoolExecutor(max_workers=max(1, threads)) as pool:
                left = [pool.submit(one, shard, handle, work) for work in shard.works if work.name not in done]
                try:
                    finished_ones, _ = wait(left, return_when=FIRST_EXCEPTION)
                finally:  # also when the user stops it: what has not begun does not begin
                    for future in left:
                        future.cancel()
                for future in finished_ones:
                    future.result()
        finally:
            os.close(handle)
    return found


def in_memory(recipe: Recipe, plan: Plan) -> dict[str, np.ndarray]:
    """The bytes of every tensor as they would be written, for trials whose result is not kept."""
    found = {}
    with Files() as files, _prepared(recipe, plan):
        survey = _survey(recipe, plan, files, 1)
        for work in plan.works:
            blocks = [block.copy() for block in _blocks(recipe, work, files.streams(work.operands), survey)]
            found[work.name] = np.concatenate(blocks) if blocks else np.zeros(0, np.uint8)
    return found


def _survey(recipe: Recipe, plan: Plan, files: Files, threads: int) -> Survey | None:
    """The thresholds of a method that trims over the whole model."""
    works = [work for work in plan.works if work.fate == "merged" and work.options.get("trim") == "model"]
    if not works:
        return None
    if all(compiled.able(recipe, work) for work in works):
        return compiled.surveyed(recipe, works, files, max(1, threads))
    from transfuse.fusing.engine import general

    return general.surveyed(works, files)


@functools.cache
def _sync_range() -> Callable[..., int] | None:
    """Linux' sync_file_range."""
    return getattr(ctypes.CDLL(None), "sync_file_range", None) if os.name == "posix" else None


def _on_its_way(handle: int, start: int, stop: int) -> None:
    """Let the disk begin to write what is finished, so that the sync at the end has little left to wait for."""
    begin = _sync_range()
    if begin is not None:
        begin(handle, ctypes.c_int64(start), ctypes.c_int64(stop - start), _BEGIN)


def _write(recipe: Recipe, work: Work, files: Files, handle: int, place: int, survey: Survey | None) -> Finished:
    """One tensor to its place; the digests of its bytes and of what it was made of."""
    digest, streams = hasher(work.dtype, work.shape), files.streams(work.operands)
    began = place
    for block in _blocks(recipe, work, streams, survey):
        data = block.data
        digest.update(data)
        while data:
            written = os.pwrite(handle, data, place)
            place, data = place + written, data[written:]
        if place - began >= _PORTION:
            _on_its_way(handle, began, place)
            began = place
    return Finished(digest=digest.hexdigest(), inputs=tuple(stream.digest() for stream in streams))


def _blocks(recipe: Recipe, work: Work, streams: Sequence[Stream], survey: Survey | None) -> Iterator[np.ndarray]:
    if work.fate == "copied":
        count = work.entries[0].count
        return (streams[0].elements(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK))
    if compiled.able(recipe, work):
        return compiled.merged(recipe, work, streams, survey)
    from transfuse.fusing.engine import general

    return general.merged(recipe, work, streams, survey)
