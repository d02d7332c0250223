"""The door of the room: checkpoints to one checkpoint, saved Models to one saved Model, safely and with a record."""

import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from transfuse.core import atomic
from transfuse.core.errors import StorageError, UsageError, WeightsError
from transfuse.core.nouns import Report
from transfuse.core.runs import Run
from transfuse.core.tables import chosen
from transfuse.fusing import engine, record
from transfuse.fusing.checkpoints import Checkpoint, open_checkpoint
from transfuse.fusing.copying import copy_beside
from transfuse.fusing.inputs.opening import all_adapters, open_parents, with_vocabulary
from transfuse.fusing.kinship import Kinship, kinships, require_related
from transfuse.fusing.pieces import digest_of
from transfuse.fusing.planning import Plan, planned
from transfuse.fusing.recipes import Recipe, read_recipe, recipe_of
from transfuse.fusing.telling import needs, told
from transfuse.fusing.weights.methods import METHODS, Compat
from transfuse.reporting.files import save_report
from transfuse.weights.headers import read_header

SHARD = 5_000_000_000
"""Bytes of the largest file of the result."""


@dataclass(frozen=True, kw_only=True)
class _Order:
    """A fusion that passed the preflight."""

    recipe: Recipe
    plan: Plan
    checkpoints: Mapping[str, Checkpoint]
    related: tuple[Kinship, ...]
    needed: Mapping[str, int]
    threads: int
    command: str

    @property
    def models(self) -> tuple[str, ...]:
        """Parents (the base not among them) when all of them are saved Models."""
        paths = tuple(dict.fromkeys(part.path for piece in self.recipe.slices for part in piece.parts))
        return paths if all(self.checkpoints[path].document is not None for path in paths) else ()


def fuse(
    *parents: str | Path,
    out: str | Path | None,
    base: str | Path | None = None,
    method: str = "linear",
    recipe: str | Path | None = None,
    on: Any = None,
    statistics: Sequence[str | Path] = (),
    tokenizer: str | None = None,
    rank: int | None = None,
    dtype: str | None = None,
    seed: int = 0,
    compat: Compat | None = None,
    missing: str = "refuse",
    force: bool = False,
    replace: bool = False,
    threads: int | None = None,
    shard_bytes: int = SHARD,
    trust_code: bool = False,
    run: Run = Run(),
    command: str = "",
    **options: Any,
) -> Report:
    """Merge the weights of several checkpoints into one, file to file.

    Args:
        parents: Files or folders of weights, or saved Models, of one architecture.
        out: Folder of the result; None only looks (preflight), and writes nothing.
        base: What the parents were fine-tuned from, for the methods that want it.
        method: A name in `fusing.weights.methods.METHODS`.
        recipe: mergekit's YAML, instead of parents, base, method and options.
        on: Labelled examples: batch statistics are estimated anew, and the result is kept only if it beats its parents.
        statistics: A file for each parent with its Fisher information or its Gram matrices.
            Without files they are computed on the training examples of `on`, when the parents are saved Models.
        tokenizer: Of parents with other vocabularies: `union`, `base`, or the path of the parent whose tokens are kept.
        rank: Of the result, when adapters are merged without a base; by default all their ranks together (exact).
        dtype: Of the result; by default that of the parents.
        seed: Of random masks.
        compat: `published` definitions, or `mergekit`'s.
        missing: A tensor that a parent lacks: `refuse`, `copy` it from who has it, or `drop` it.
        force: Merge unrelated parents too.
        replace: Replace a folder that is there.
        threads: Tensors at work at once; by default the processor's cores.
        shard_bytes: Largest file of the result.
        trust_code: Open Models that were built by the user's own function.
        run: Deadline and watcher.
        command: What repeats this, for the report.
        options: Of the method: `weight`, `density`, `scale`, `t`, ...

    Raises:
        UsageError, UnknownName, WeightsError, StorageError, BudgetError: See their docstrings.
    """
    read = _recipe(parents, recipe, base, method, options, statistics, dtype=dtype, seed=seed, compat=compat)
    read = with_vocabulary(read, tokenizer)
    if all_adapters(read):
        from transfuse.fusing.inputs.adapting import merged_adapters

        if on is not None:
            raise UsageError("`on` must go with saved Models, but the parents are adapters, which cannot be asked.")
        return merged_adapters(read, out, rank=rank, replaced=replace, command=command)
    if rank is not None:
        raise UsageError("`rank` must go with adapters that are merged without a base, but the parents are weights.")
    if on is not None and out is not None and METHODS[read.method].statistics:
        from transfuse.fusing.statistics.computing import with_statistics

        read, on = with_statistics(read, on, Path(out), trust_code=trust_code, replaced=replace, run=run)
    order = _preflight(read, missing=missing, force=force, threads=threads, command=command)
    if on is not None and not order.models:
        raise UsageError("`on` must go with saved Models, but the parents are bare weights, which cannot be asked.")
    if out is None:
        return told(read, order.plan, order.related, order.needed, command=command)
    folder = Path(out)
    _require_free(folder, order, replace)
    with _alone(folder):
        return _carried_out(order, folder, on=on, shard_bytes=shard_bytes, trust_code=trust_code, run=run)


def _recipe(
    parents: Sequence[str | Path],
    recipe: str | Path | None,
    base: str | Path | None,
    method: str,
    options: Mapping[str, Any],
    statistics: Sequence[str | Path],
    **known: Any,
) -> Recipe:
    if recipe is None:
        if not parents:
            raise UsageError("`fuse` must be given parents, or a recipe, but has neither.")
        known["compat"] = known["compat"] or "published"
        chosen("method of fusing weights", method, METHODS)
        return recipe_of(parents, base=base, method=method, options=options, statistics=statistics, **known)
    if parents or base or options or statistics:
        raise UsageError("A recipe must say everything about the fusion: give no parents, base or options beside it.")
    read = read_recipe(recipe, compat=known["compat"], seed=known["seed"] or None)
    return replace(read, dtype=known["dtype"] or read.dtype)


def _preflight(recipe: Recipe, *, missing: str, force: bool, threads: int | None, command: str) -> _Order:
    """Everything that can be known from headers and samples, before anything is written."""
    chosen("way with missing tensors", missing, ("refuse", "copy", "drop"))
    checkpoints = open_parents(recipe)
    parts = [part for piece in recipe.slices for part in piece.parts]
    given = {part.statistics for part in parts if part.statistics}
    wanted = METHODS[recipe.method].statistics
    if wanted and len(given) == 0:
        raise UsageError(
            f"`{recipe.method}` must be given `statistics` ({wanted}), one file for each parent, or saved Models with"
            " `on` (and `out`), on whose training examples they are computed."
        )
    documents = {path: c.document for path, c in checkpoints.items() if c.document is not None}
    if len(documents) == len(checkpoints):
        from transfuse.fusing.models import (
            require_alike,
        )  # networks, data and metrics: seconds that bare files need not

        require_alike(documents)
    plan = planned(recipe, checkpoints, {path: open_checkpoint(path) for path in given}, missing=missing)  # type: ignore[arg-type]
    related: list[Kinship] = []
    if len(recipe.slices) == 1 and len(parts) + (recipe.base is not None) > 1:
        count = max((len(work.entries) for work in plan.works if work.fate == "merged"), default=0)
        names = _named(recipe, count)
        related = kinships(plan, names, recipe.base)
        if not force and METHODS[recipe.method].most != 1:
            require_related(related)
    used = threads or min(os.cpu_count() or 1, 8)
    needed = needs(recipe, plan, checkpoints, used)
    return _Order(
        recipe=recipe, plan=plan, checkpoints=checkpoints, related=tuple(related), needed=needed, threads=used,
        command=command,
    )  # fmt: skip


def _named(recipe: Recipe, count: int) -> list[str]:
    """The parents in the plan's order."""
    paths = [part.path for part in recipe.slices[0].parts]
    kind = METHODS[recipe.method].base
    if recipe.base is not None and kind != "ignored":
        paths = [path for path in paths if path != recipe.base]
        paths = [recipe.base, *paths] if kind == "parent" else paths
    return paths[:count]


def _require_free(folder: Path, order: _Order, replace: bool) -> None:
    """Raise before work of which the result could not be written, or would destroy a parent."""
    target = folder.resolve()
    for checkpoint in order.checkpoints.values():
        parent = checkpoint.path.resolve()
        if target == parent or target in parent.parents or parent in target.parents:
            raise UsageError(f"`out` must be another folder than its parents, but is '{folder}'. Choose a new one.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        ours = (folder / record.RECORD).is_file() or (folder / "model.json").is_file()
        if not (replace and ours):
            raise UsageError(
                f"'{folder}' must be new, but exists. Choose another, or replace an older result (replace)."
            )
    atomic.require_writable(folder)
    free = shutil.disk_usage(target.parent).free
    if free < order.needed["disk"]:
        raise StorageError(
            f"The result takes {order.needed['disk'] / 1e9:.1f} GB, but '{target.parent}' has {free / 1e9:.1f} GB left."
            " Free some space or choose another disk."
        )


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Only one run writes into a folder."""
    target = folder.resolve()
    lock = FileLock(target.parent / f".{target.name}.fusing.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UsageError(f"Another run is writing '{folder}'. Wait for it, or choose another folder.") from None
    try:
        yield
    finally:
        lock.release()
        Path(lock.lock_file).unlink(missing_ok=True)


def _carried_out(order: _Order, folder: Path, *, on: Any, shard_bytes: int, trust_code: bool, run: Run) -> Report:
    """Merge into a hidden folder beside the target, finish there, and put it in place."""
    started = time.monotonic()
    target = folder.resolve()
    work = target.parent / f".{target.name}.fusing"
    identity = record.identity_of(order.recipe, order.plan, order.checkpoints)
    before = record.stamps(order.checkpoints)
    limit = shard_bytes if not order.models else sum(w.nbytes for w in order.plan.works) + 1
    with atomic.explained(folder):
        results, resumed = engine.carried_out(
            order.recipe, order.plan, work, identity=identity, threads=order.threads, shard_bytes=limit, run=run
        )
    if record.stamps(order.checkpoints) != before:
        shutil.rmtree(work, ignore_errors=True)
        raise WeightsError("A parent was changed while it was read, so the result was thrown away. Run it again.")
    found = [f"Written to {folder}; seed {order.recipe.seed}, definitions as {order.recipe.compat}."]
    found += [f"{resumed} tensors were taken over from a run that was stopped."] if resumed else []
    report = told(order.recipe, order.plan, order.related, order.needed, found=found, command=order.command)
    written = record.document(order.recipe, order.plan, order.checkpoints, results)
    result = work / "result"
    if order.models:
        report = _as_model(order, report, written, work, on=on, started=started, trust_code=trust_code, run=run)
        result = work / "saved"
    else:
        _beside(order, result, report, written)
    atomic.put_folder(result, target)
    shutil.rmtree(work, ignore_errors=True)
    return report


def _beside(order: _Order, result: Path, report: Report, written: Mapping[str, Any]) -> None:
    """Configuration, record and report beside the weights."""
    origin = order.recipe.files_from or order.recipe.base or order.recipe.paths[0]
    if origin not in order.checkpoints:
        raise UsageError(f"`tokenizer_source` must be one of the parents, but is '{origin}'.")
    copy_beside(order.recipe, order.checkpoints[origin], result)
    _write_record(result, written)
    save_report(report, result / "report.json")


def _write_record(result: Path, written: Mapping[str, Any]) -> None:
    atomic.write_text(result / record.RECORD, json.dumps(written, indent=1, ensure_ascii=False))


def _as_model(
    order: _Order,
    report: Report,
    written: Mapping[str, Any],
    work: Path,
    *,
    on: Any,
    started: float,
    trust_code: bool,
    run: Run,
) -> Report:
    """The merged tensors as a saved Model in `saved`; on data, the better of it and its best parent."""
    from transfuse.fusing.models import as_model

    model, parents = as_model(
        order.recipe,
        work / "result" / engine.SINGLE,
        order.models,
        seconds=time.monotonic() - started,
        trust_code=trust_code,
    )
    kept = True
    if on is not None:
        from transfuse.fusing.accepting import accepted

        model, report, kept, changed = accepted(model, parents, on, report, run=run)
        written = {**written, "re-estimated": changed}
    shutil.rmtree(work / "saved", ignore_errors=True)
    saved = replace(model, report=report).save(work / "saved")
    if kept:
        _write_record(saved, _with_result(written, saved))
    return report


def _with_result(written: Mapping[str, Any], result: Path) -> dict[str, Any]:
    """The record with the digests of the tensors as they were saved: batch statistics may have changed."""
    saved = {name: digest_of(entry) for name, entry in read_header(result / engine.SINGLE).items()}
    told_before = written["tensors"]
    tensors = {name: {**told_before.get(name, {"fate": "copied", "why": ""}), "digest": d} for name, d in saved.items()}
    return {**written, "tensors": tensors}
