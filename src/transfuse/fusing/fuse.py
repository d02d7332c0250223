"""The door of the room: checkpoints to one checkpoint, saved Models to one saved Model, safely and with a record.

Weights are merged here; predictions in `ensembling.py`; coefficients are searched in `tuning.py`.
"""

import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transfuse.core import atomic
from transfuse.core.errors import UsageError, WeightsError
from transfuse.core.nouns import Report
from transfuse.core.runs import Run
from transfuse.core.tables import chosen
from transfuse.fusing import engine, record
from transfuse.fusing.checkpoints import Checkpoint, open_checkpoint
from transfuse.fusing.coefficients.methods import SEARCHES
from transfuse.fusing.copying import copy_beside
from transfuse.fusing.kinship import Kinship, kinships, require_related
from transfuse.fusing.outputs.methods import METHODS as OUTPUTS
from transfuse.fusing.placing import alone, require_free
from transfuse.fusing.planning import Missing, Plan, planned
from transfuse.fusing.recipes import Recipe, read_recipe, recipe_of
from transfuse.fusing.telling import needs, told
from transfuse.fusing.weights.methods import METHODS, Compat
from transfuse.reporting.files import save_report

if TYPE_CHECKING:
    from transfuse.fusing.tuning import Tuned

_SOUP = "greedy_soup"
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
    alignment: Any = None
    """What was permuted (`alignment.aligning.Alignment`)."""

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
    align: str = "none",
    statistics: Sequence[str | Path] = (),
    dtype: str | None = None,
    seed: int = 0,
    compat: Compat | None = None,
    search: str | None = None,
    trials: int | None = None,
    missing: Missing = "refuse",
    force: bool = False,
    replace: bool = False,
    threads: int | None = None,
    shard_bytes: int = SHARD,
    trust_code: bool = False,
    run: Run = Run(),
    command: str = "",
    **options: Any,
) -> Report:
    """Merge the weights of several checkpoints into one, file to file, or the predictions of several Models.

    Args:
        parents: Files or folders of weights, or saved Models, of one architecture; for predictions Models of any.
        out: Folder of the result; None only looks (preflight), and writes nothing.
        base: What the parents were fine-tuned from, for the methods that want it.
        method: A name in `fusing.weights.methods.METHODS`; `greedy_soup`, which is linear with search=soup; or one
            in `fusing.outputs.methods.METHODS`, which fuse predictions.
        recipe: mergekit's YAML, instead of parents, base, method and options.
        on: Labelled examples: batch statistics are estimated anew, and the result is kept only if it beats its parents.
            A task, or what one can be opened from.
        align: Bring parents that were trained apart into one order of units first: by their `weights`, or by their
            `activations` on the examples.
        statistics: A file for each parent with its Fisher information or its Gram matrices.
        dtype: Of the result; by default that of the parents.
        seed: Of random masks.
        compat: `published` definitions, or `mergekit`'s.
        search: Coefficients are searched on one half of the validation examples of `on`, and the result judged on the
            other: `alpha`, `lambda`, `layers` or `soup` (see `fusing.coefficients`).
        trials: Of the search; by default what suits it.
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
    if recipe is None and method in OUTPUTS:
        _require_plain(method, base=base, statistics=statistics, dtype=dtype, compat=compat, search=search)
        from transfuse.fusing.ensembling import ensembled

        return ensembled(
            parents, out=out, method=method, on=on, options=options, seed=seed, replace=replace,
            trust_code=trust_code, run=run, command=command,
        )  # fmt: skip
    if method == _SOUP and recipe is None:
        method, search = "linear", search or "soup"
    _require_searchable(search, trials, on)
    read = _recipe(parents, recipe, base, method, options, statistics, dtype=dtype, seed=seed, compat=compat)
    if align != "none":
        from transfuse.fusing.alignment.parents import to_align

        read, on = to_align(read, align, on, run)
    known: dict[str, Any] = {
        "missing": missing, "force": force, "threads": threads, "command": command, "trust_code": trust_code
    }  # fmt: skip
    order = _preflight(read, on, **known)
    if on is not None and not order.models:
        raise UsageError("`on` must go with saved Models, but the parents are bare weights, which cannot be asked.")
    if out is None:
        return _told(order)
    folder = Path(out)
    require_free(folder, [c.path for c in order.checkpoints.values()], order.needed["disk"], replace)
    with alone(folder):
        found = None
        if on is not None:
            from transfuse.fusing.tuning import tuned

            found = tuned(
                read,
                order.checkpoints,
                on,
                search=search,
                trials=trials,
                missing=missing,
                trust_code=trust_code,
                run=run,
            )
            if found.recipe is not read:
                order = _preflight(found.recipe, on, **{**known, "force": True})
        return _carried_out(order, folder, found=found, shard_bytes=shard_bytes, trust_code=trust_code, run=run)


def _require_plain(method: str, **given: Any) -> None:
    """Raise `UsageError` for what only weights have."""
    wrong = next((name for name, value in given.items() if value), None)
    if wrong is not None:
        raise UsageError(
            f"`{wrong}` is for methods that merge weights, but `{method}` fuses predictions. Leave it out."
        )


def _require_searchable(search: str | None, trials: int | None, on: Any) -> None:
    if search is None and trials is not None:
        raise UsageError("`trials` must go with a `search`, but there is none.")
    if search is not None:
        chosen("search", search, SEARCHES)
        if on is None:
            raise UsageError(f"A search ({search}) must be given `on` (--on), labelled examples, but has none.")


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
        chosen("method of fusing", method, (*METHODS, _SOUP, *OUTPUTS))
        return recipe_of(parents, base=base, method=method, options=options, statistics=statistics, **known)
    if parents or base or options or statistics:
        raise UsageError("A recipe must say everything about the fusion: give no parents, base or options beside it.")
    read = read_recipe(recipe, compat=known["compat"], seed=known["seed"] or None)
    return replace(read, dtype=known["dtype"] or read.dtype)


def _told(order: _Order, found: Sequence[str] = ()) -> Report:
    report = told(order.recipe, order.plan, order.related, order.needed, found=found, command=order.command)
    if order.alignment is None:
        return report
    from transfuse.fusing.alignment.parents import with_alignment

    return with_alignment(report, order.alignment)


def _preflight(
    recipe: Recipe, on: Any, *, missing: Missing, force: bool, threads: int | None, command: str, trust_code: bool
) -> _Order:
    """Everything that can be known from headers and samples, before anything is written."""
    chosen("way with missing tensors", missing, ("refuse", "copy", "drop"))
    checkpoints = {path: open_checkpoint(path) for path in recipe.paths}
    parts = [part for piece in recipe.slices for part in piece.parts]
    given = {part.statistics for part in parts if part.statistics}
    wanted = METHODS[recipe.method].statistics
    if wanted and len(given) == 0:
        raise UsageError(f"`{recipe.method}` must be given `statistics` ({wanted}), one file for each parent.")
    documents = {path: c.document for path, c in checkpoints.items() if c.document is not None}
    if len(documents) == len(checkpoints):
        from transfuse.fusing.models import (
            require_alike,
        )  # networks, data and metrics: seconds that bare files need not

        require_alike(documents)
    alignment = None
    if recipe.align != "none":
        from transfuse.fusing.alignment.parents import aligned_parents

        checkpoints, alignment = aligned_parents(recipe, checkpoints, on, trust_code=trust_code)
    plan = planned(recipe, checkpoints, {path: open_checkpoint(path) for path in given}, missing=missing)
    related: list[Kinship] = []
    if len(recipe.slices) == 1 and len(parts) + (recipe.base is not None) > 1:
        count = max((len(work.entries) for work in plan.works if work.fate == "merged"), default=0)
        names = _named(recipe, count)
        related = kinships(plan, names, recipe.base)
        if not force and alignment is None and METHODS[recipe.method].most != 1:
            require_related(related)
    used = threads or min(os.cpu_count() or 1, 8)
    needed = needs(recipe, plan, checkpoints, used)
    return _Order(
        recipe=recipe, plan=plan, checkpoints=checkpoints, related=tuple(related), needed=needed, threads=used,
        command=command, alignment=alignment,
    )  # fmt: skip


def _named(recipe: Recipe, count: int) -> list[str]:
    """The parents in the plan's order."""
    paths = [part.path for part in recipe.slices[0].parts]
    kind = METHODS[recipe.method].base
    if recipe.base is not None and kind != "ignored":
        paths = [path for path in paths if path != recipe.base]
        paths = [recipe.base, *paths] if kind == "parent" else paths
    return paths[:count]


def _carried_out(
    order: _Order, folder: Path, *, found: "Tuned | None", shard_bytes: int, trust_code: bool, run: Run
) -> Report:
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
    lines = [f"Written to {folder}; seed {order.recipe.seed}, definitions as {order.recipe.compat}."]
    lines += [f"{resumed} tensors were taken over from a run that was stopped."] if resumed else []
    report = _told(order, lines)
    written = record.document(order.recipe, order.plan, order.checkpoints, results)
    result = work / "result"
    if order.models:
        from transfuse.fusing.finishing import as_saved

        report = as_saved(
            order.recipe, order.models, report, written, work, found=found, alignment=order.alignment,
            seconds=time.monotonic() - started, trust_code=trust_code, run=run,
        )  # fmt: skip
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
    record.write(result, written)
    save_report(report, result / "report.json")
