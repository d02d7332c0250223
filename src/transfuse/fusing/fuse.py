"""The door of the room: checkpoints to one checkpoint, saved Models to one saved Model, safely and with a record.

Weights are merged here; predictions in `outputs/`; coefficients are searched in `coefficients/`.
"""

import shutil
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transfuse.core import atomic
from transfuse.core.errors import UsageError, WeightsError
from transfuse.core.nouns import Report
from transfuse.core.runs import Run
from transfuse.core.tables import chosen
from transfuse.fusing import record
from transfuse.fusing.coefficients.methods import SEARCHES
from transfuse.fusing.copying import copy_beside
from transfuse.fusing.engine import writing
from transfuse.fusing.engine.journal import Finished
from transfuse.fusing.inputs.opening import all_adapters, with_vocabulary
from transfuse.fusing.outputs.methods import METHODS as OUTPUTS
from transfuse.fusing.placing import alone, require_free, workplace
from transfuse.fusing.planning import Missing
from transfuse.fusing.preflight import GREEDY_SOUP, Order, preflight, recipe_from, report_of
from transfuse.fusing.recipes import Recipe
from transfuse.fusing.weights.methods import METHODS, Compat
from transfuse.reporting.files import save_report

if TYPE_CHECKING:
    from transfuse.fusing.coefficients.tuning import Tuned

SHARD = 5_000_000_000
"""Bytes of the largest file of the result."""


def fuse(
    *parents: str | Path,
    out: str | Path | None,
    base: str | Path | None = None,
    method: str = "linear",
    recipe: str | Path | None = None,
    on: Any = None,
    align: str = "none",
    statistics: Sequence[str | Path] = (),
    tokenizer: str | None = None,
    rank: int | None = None,
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
            Without files they are computed on the training examples of `on`, when the parents are saved Models.
        tokenizer: Of parents with other vocabularies: `union`, `base`, or the path of the parent whose tokens are kept.
        rank: Of the result, when adapters are merged without a base; by default all their ranks together (exact).
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
        _require_none(method, {
            "base": base, "statistics": statistics, "dtype": dtype, "compat": compat, "search": search,
            "tokenizer": tokenizer, "rank": rank, "align": align != "none",
        })  # fmt: skip
        from transfuse.fusing.outputs.ensembling import ensembled

        return ensembled(
            parents, out=out, method=method, on=on, options=options, seed=seed, replace=replace,
            trust_code=trust_code, run=run, command=command,
        )  # fmt: skip
    if method == GREEDY_SOUP and recipe is None:
        method, search = "linear", search or "soup"
    _require_searchable(search, trials, on)
    read = recipe_from(parents, recipe, base, method, options, statistics, dtype=dtype, seed=seed, compat=compat)
    read = with_vocabulary(read, tokenizer)
    if all_adapters(read):
        return _adapters_merged(read, out, on=on, rank=rank, replaced=replace, command=command)
    if rank is not None:
        raise UsageError("`rank` must go with adapters that are merged without a base, but the parents are weights.")
    read, on = _on_examples(read, on, out, align=align, replaced=replace, trust_code=trust_code, run=run)
    look = partial(preflight, missing=missing, threads=threads, command=command, trust_code=trust_code)
    order = look(read, on, force=force)
    if out is None:
        return report_of(order)
    folder = Path(out)
    require_free(folder, [c.path for c in order.checkpoints.values()], order.needed["disk"], replace)
    with alone(folder):
        found = None if on is None else _tuned(order, on, search, trials, missing, trust_code, run)
        if found is not None and found.recipe is not read:
            order = look(found.recipe, on, force=True)
        return _carried_out(order, folder, found=found, shard_bytes=shard_bytes, trust_code=trust_code, run=run)


def _on_examples(
    recipe: Recipe, on: Any, out: str | Path | None, *, align: str, replaced: bool, trust_code: bool, run: Run
) -> tuple[Recipe, Any]:
    """The recipe with what labelled examples, or their Task, are needed for before the parents are merged."""
    if align != "none":
        from transfuse.fusing.alignment.parents import to_align

        recipe, on = to_align(recipe, align, on, run)
    if on is not None and out is not None and METHODS[recipe.method].statistics:
        from transfuse.fusing.statistics.computing import with_statistics

        recipe, on = with_statistics(recipe, on, Path(out), trust_code=trust_code, replaced=replaced, run=run)
    return recipe, on


def _tuned(
    order: Order, on: Any, search: str | None, trials: int | None, missing: Missing, trust_code: bool, run: Run
) -> "Tuned":
    from transfuse.fusing.coefficients.tuning import tuned

    return tuned(
        order.recipe, order.checkpoints, on, search=search, trials=trials, missing=missing, trust_code=trust_code,
        run=run,
    )  # fmt: skip


def _adapters_merged(
    recipe: Recipe, out: str | Path | None, *, on: Any, rank: int | None, replaced: bool, command: str
) -> Report:
    from transfuse.fusing.inputs.adapting import merged_adapters

    if on is not None:
        raise UsageError("`on` must go with saved Models, but the parents are adapters, which cannot be asked.")
    return merged_adapters(recipe, out, rank=rank, replaced=replaced, command=command)


def _require_none(method: str, of_weights: Mapping[str, Any]) -> None:
    """Raise `UsageError` for what only weights have."""
    wrong = next((name for name, value in of_weights.items() if value), None)
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


def _carried_out(
    order: Order, folder: Path, *, found: "Tuned | None", shard_bytes: int, trust_code: bool, run: Run
) -> Report:
    """Merge into a hidden folder beside the target, finish there, and put it in place."""
    started, work = time.monotonic(), workplace(folder)
    results, resumed = _merged(order, folder, work, shard_bytes, run)
    lines = [f"Written to {folder}; seed {order.recipe.seed}, definitions as {order.recipe.compat}."]
    lines += [f"{resumed} tensors were taken over from a run that was stopped."] if resumed else []
    report = report_of(order, lines)
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
    atomic.put_folder(result, folder.resolve())
    shutil.rmtree(work, ignore_errors=True)
    return report


def _merged(order: Order, folder: Path, work: Path, shard_bytes: int, run: Run) -> tuple[dict[str, Finished], int]:
    """The tensors, written; a saved Model's into one file. What a changing parent gave is thrown away."""
    identity = record.identity_of(order.recipe, order.plan, order.checkpoints)
    before = record.stamps(order.checkpoints)
    limit = shard_bytes if not order.models else sum(w.nbytes for w in order.plan.works) + 1
    with atomic.explained(folder):
        found = writing.carried_out(
            order.recipe, order.plan, work, identity=identity, threads=order.threads, shard_bytes=limit, run=run
        )
    if record.stamps(order.checkpoints) != before:
        shutil.rmtree(work, ignore_errors=True)
        raise WeightsError("A parent was changed while it was read, so the result was thrown away. Run it again.")
    return found


def _beside(order: Order, result: Path, report: Report, written: Mapping[str, Any]) -> None:
    """Configuration, record and report beside the weights."""
    origin = order.recipe.origin
    if origin not in order.checkpoints:
        raise UsageError(f"`tokenizer_source` must be one of the parents, but is '{origin}'.")
    copy_beside(order.recipe, order.checkpoints[origin], result)
    record.write(result, written)
    save_report(report, result / "report.json")
