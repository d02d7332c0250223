"""Predictions of saved Models to one saved Model, kept when it beats its best member on held-out examples.

What is learnt from the validation split (weights, a head, a temperature) is judged on its folds, each by what the
others gave: so all of its examples count and none is judged by what it taught. The test split, when there is one, is
read once, for what is kept and for what it was compared with.
Letters: M members, N examples, C classes, labels or target columns.
"""

import dataclasses
import inspect
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np

from transfuse.core import atomic, sums
from transfuse.core.checking import require_kinds
from transfuse.core.errors import UsageError
from transfuse.core.nouns import Examples, Model, Report, Section, Task
from transfuse.core.provenance import plain
from transfuse.core.runs import Run
from transfuse.core.tables import resolve, unknown
from transfuse.evaluating.assessing import Assessment, assess
from transfuse.fusing import record
from transfuse.fusing.accepting import proof
from transfuse.fusing.checkpoints import open_checkpoint
from transfuse.fusing.outputs.blending import Array, Blend, blended
from transfuse.fusing.outputs.members import Members, answers, one_model, open_members
from transfuse.fusing.outputs.methods import GIVEN, LEARNT, METHODS
from transfuse.fusing.placing import alone, require_free, workplace
from transfuse.predicting.folder import TENSORS
from transfuse.predicting.predict import activated, confidences_of
from transfuse.probing.calibrating import temperature
from transfuse.probing.folds import assign_folds
from transfuse.tasks.opening import open_task
from transfuse.weights.pieces import digests_of

FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class _Learnt:
    """A blend of all validation examples, and what blends of its other folds answer on each fold."""

    blend: Blend
    held: Assessment
    temperature: float


@dataclass(frozen=True, kw_only=True)
class _Made:
    """What is saved."""

    model: Model
    report: Report
    fused: bool
    """False when it is a member."""


def ensembled(
    parents: Sequence[str | Path],
    *,
    out: str | Path | None,
    method: str,
    on: Any = None,
    options: Mapping[str, Any],
    seed: int = 0,
    replace: bool = False,
    trust_code: bool = False,
    run: Run = Run(),
    command: str = "",
) -> Report:
    """One Model that answers for several: see `fuse`. `options` are those of the method."""
    started = time.monotonic()
    own = _checked(method, options)
    if on is None and LEARNT[method]:
        raise UsageError(f"`{method}` must be given `on` (--on), labelled examples to learn from, but has none.")
    task = None if on is None else open_task(on, seed=0, run=run)
    members = open_members(parents, task=task, trust_code=trust_code)
    folders = [Path(path) for path in parents]
    if out is not None:
        needed = sum((folder / TENSORS).stat().st_size for folder in folders)
        require_free(Path(out), folders, needed, replace)
    made = _unproven(members, method, own, seed) if task is None else _proven(members, task, method, own, seed, run)
    made = dataclasses.replace(made, report=dataclasses.replace(made.report, command=command))
    if out is not None:
        recipe = {"method": method, "options": plain(own), "seed": seed}
        with alone(Path(out)):
            _save(made, members, Path(out), recipe=recipe, seconds=round(time.monotonic() - started, 3))
    return made.report


def _checked(method: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options that the method has, of the kinds that its signature says."""
    function = resolve(METHODS, method, "method of fusing predictions")
    known = [p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY]
    known = [name for name in known if name not in GIVEN]
    for name in options:
        if name not in known:
            raise unknown(f"option of '{method}'", name, known)
    require_kinds(options, get_type_hints(function))
    return dict(options)


def _unproven(members: Members, method: str, options: Mapping[str, Any], seed: int) -> _Made:
    """Without examples: the method sees none, and nothing is claimed."""
    count = len(members.names)
    blank = np.zeros((count, 0, len(members.classes)))
    blend = resolve(METHODS, method, "method")(blank, np.zeros(0, int), members.kind, seed=seed, **options)
    model = one_model(members, blend, method=method, options=options, temperature=1.0, seed=seed)
    assert blend.share_M is not None  # a head cannot be had without examples
    shares = zip(members.names, blend.share_M, strict=True)
    rows = [{"member": name, "share": round(float(share), 4)} for name, share in shares]
    told = "Nothing was measured: give labelled examples (on, --on) to know whether it is better than its members."
    report = Report(title=model.name, columns=("member", "share"), rows=tuple(rows), summary=(told,))
    return _Made(model=model, report=report, fused=True)


def _proven(members: Members, task: Task, method: str, options: Mapping[str, Any], seed: int, run: Run) -> _Made:
    """What is kept, and the proof."""
    valid = task.splits["valid"]
    p_MNC = np.stack([answers(model, members.classes, valid, run=run) for model in members.models.values()])
    learnt = _learnt(members, p_MNC, valid, method, options, seed)
    alone_ones = {name: _assessment(members, valid, p) for name, p in zip(members.names, p_MNC, strict=True)}
    fusion = one_model(members, learnt.blend, method=method, options=options, temperature=learnt.temperature, seed=seed)
    fusion = dataclasses.replace(fusion, confidences=confidences_of(learnt.held.outputs_NC, members.kind))
    found = proof(
        {"fusion": learnt.held, **alone_ones}, lambda best: _tested(members, fusion, best, task, run), rival="member",
        judge="validation split, out of fold",
    )  # fmt: skip
    report = Report(
        title=f"{method} of {len(members.names)} models' answers",
        columns=tuple(found.rows[0]),
        rows=found.rows,
        summary=found.sentences,
        sections=(_shares(members, learnt.blend),),
        warnings=tuple(task.warnings),
    )
    model = dataclasses.replace(fusion if found.kept else members.models[found.best], metrics=found.metrics)
    return _Made(model=model, report=report, fused=found.kept)


def _learnt(
    members: Members, p_MNC: Array, valid: Examples, method: str, options: Mapping[str, Any], seed: int
) -> _Learnt:
    function = resolve(METHODS, method, "method of fusing predictions")
    kind, targets = members.kind, valid.targets
    fold_N = _folds(p_MNC, valid, kind, seed)
    z_NC = np.zeros(p_MNC.shape[1:])
    for fold in range(int(fold_N.max()) + 1):
        rest = fold_N != fold
        groups = None if valid.groups is None else [valid.groups[n] for n in np.flatnonzero(rest)]
        found = function(p_MNC[:, rest], targets[rest], kind, seed=seed, groups=groups, **options)
        z_NC[~rest] = blended(found, p_MNC[:, ~rest], kind)
    warmth = temperature(z_NC, targets, kind)
    held = _assessment(members, valid, activated(z_NC, kind, temperature=warmth))
    return _Learnt(
        blend=function(p_MNC, targets, kind, seed=seed, groups=valid.groups, **options), held=held, temperature=warmth
    )  # fmt: skip


def _folds(p_MNC: Array, valid: Examples, kind: str, seed: int) -> np.ndarray:
    """Folds in which every class is in the others' examples as far as there are enough."""
    classes_NC = None
    if kind == "single-label":
        classes_NC = np.eye(p_MNC.shape[2])[valid.targets]
    elif kind == "multi-label":
        classes_NC = np.asarray(valid.targets, np.float64)
    fold_N = assign_folds(np.concatenate(list(p_MNC), 1), classes_NC, FOLDS, seed, valid.groups)
    if not fold_N.max():
        raise UsageError("The validation split must hold several examples (or groups), but has one. Give more.")
    return fold_N


def _assessment(members: Members, examples: Examples, outputs_NC: Array) -> Assessment:
    modality = next(iter(members.models.values())).modality
    return Assessment(
        kind=members.kind, classes=members.classes, examples=examples, outputs_NC=outputs_NC, modality=modality
    )


def _tested(members: Members, fusion: Model, best: str, task: Task, run: Run) -> dict[str, Assessment]:
    """Fusion and best member on the test split, which is read here and nowhere else."""
    if "test" not in task.splits:
        return {}
    test = task.splits["test"]
    other = _assessment(members, test, answers(members.models[best], members.classes, test, run=run))
    return {"fusion": assess(fusion, test, run=run), best: other}


def _shares(members: Members, blend: Blend) -> Section:
    rows = []
    for m, (name, model) in enumerate(members.models.items()):
        share = None if blend.share_M is None else round(float(blend.share_M[m]), 4)
        count = sum(p.numel() for p in model.network.parameters())
        rows.append({"member": name, "share": share, "parameters": count})
    facts = "; ".join(f"{name}: {value}" for name, value in blend.facts)
    return Section(
        kind="table", title="Members", content={"columns": ["member", "share", "parameters"], "rows": rows}, note=facts
    )


def _save(made: _Made, members: Members, folder: Path, *, recipe: Mapping[str, Any], seconds: float) -> None:
    """Beside the target first, then in its place; with the record by which `verify` judges when it is a fusion."""
    work = workplace(folder)
    with atomic.explained(folder):
        shutil.rmtree(work, ignore_errors=True)
        step = made.model.provenance
        step = dataclasses.replace(step, seconds=seconds) if made.fused else step
        saved = dataclasses.replace(made.model, report=made.report, provenance=step).save(work / "saved")
        if made.fused:
            parents = {path: digests_of(open_checkpoint(path).entries) for path in members.names}
            record.write(saved, record.of_file(recipe, saved / TENSORS, parents, "copied", "a member's"))
            atomic.write_bytes(saved / sums.SUMS, sums.of_part(saved))
        atomic.put_folder(saved, folder.resolve())
        shutil.rmtree(work, ignore_errors=True)
