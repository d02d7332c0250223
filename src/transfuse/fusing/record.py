"""The record of a fusion, beside its result: recipe, digests of parents and result, the fate of every tensor."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import transfuse
from transfuse.core import atomic, digests
from transfuse.core.errors import ModelError
from transfuse.core.provenance import plain
from transfuse.fusing.checkpoints import Checkpoint, open_checkpoint
from transfuse.fusing.engine.journal import Finished
from transfuse.fusing.inputs.opening import parents_again
from transfuse.fusing.planning import Plan
from transfuse.fusing.recipes import Recipe
from transfuse.weights.headers import Entry, read_header
from transfuse.weights.pieces import digest_of, digests_of

RECORD, SCHEMA = "fusion.json", 2


def identity_of(recipe: Recipe, plan: Plan, checkpoints: Mapping[str, Checkpoint]) -> str:
    """A digest of what will be done to which files as they are now; what an unfinished result must agree with."""
    works = [[w.name, w.dtype.name, list(w.shape), w.fate, plain(w.options)] for w in plan.works]
    return digests.of_value([transfuse.__version__, plain(recipe), works, stamps(checkpoints)])


def stamps(checkpoints: Mapping[str, Checkpoint]) -> list[Any]:
    """Size and time of change of every file of the parents."""
    files = [file for checkpoint in checkpoints.values() for file in checkpoint.files]
    return [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def document(
    recipe: Recipe, plan: Plan, checkpoints: Mapping[str, Checkpoint], results: Mapping[str, Finished]
) -> dict[str, Any]:
    """What is written: digests of every tensor of the result, and of every parent's tensors that went into it."""
    tensors = {
        work.name: {"fate": work.fate, "why": work.reason, "digest": results[work.name].digest} for work in plan.works
    }
    return _whole(recipe, _inputs(plan, checkpoints, results), tensors, dict(plan.dropped))


def of_file(
    recipe: Recipe | Mapping[str, Any], file: Path, parents: Mapping[str, Mapping[str, str]], fate: str, why: str
) -> dict[str, Any]:
    """The record of a result that one file holds, of whose tensors all had one fate."""
    made = {name: {"fate": fate, "why": why, "digest": d} for name, d in digests_of(read_header(file)).items()}
    return _whole(recipe, parents, made, {})


def _whole(recipe: Any, parents: Any, tensors: Any, dropped: Any) -> dict[str, Any]:
    return {
        "schema": SCHEMA, "transfuse": transfuse.__version__, "recipe": plain(recipe), "parents": plain(parents),
        "tensors": tensors, "dropped": dropped,
    }  # fmt: skip


def write(folder: Path, document: Mapping[str, Any]) -> None:
    """Put the record into the folder of the result."""
    atomic.write_text(folder / RECORD, json.dumps(document, indent=1, ensure_ascii=False))


def _inputs(
    plan: Plan, checkpoints: Mapping[str, Checkpoint], results: Mapping[str, Finished]
) -> dict[str, dict[str, str]]:
    """By path and tensor the digest of what was read."""
    read: dict[tuple[Path | None, str], str] = {}
    for work in plan.works:
        read |= {(e.path, e.name): d for e, d in zip(work.operands, results[work.name].inputs, strict=True)}
    return {
        path: {name: read[e.path, name] for name, e in checkpoint.entries.items() if (e.path, name) in read}
        for path, checkpoint in checkpoints.items()
    }


def as_stored(parents: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, str]]:
    """By path and tensor the digest of what lies in the files, for parents that were changed while they were read."""
    entries = {path: open_checkpoint(path).entries for path in parents}
    return {path: {name: digest_of(entries[path][name]) for name in names} for path, names in parents.items()}


def read_record(folder: Path) -> dict[str, Any]:
    """The record in a folder. Raises `ModelError`."""
    try:
        found = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        schema = found["schema"]
    except FileNotFoundError:
        raise ModelError(f"'{folder}' must be the result of `transfuse fuse`, but has no {RECORD}.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"'{folder / RECORD}' must be the record of a fusion, but cannot be read: {error}.") from error
    if schema != SCHEMA:
        raise ModelError(f"'{folder}' has schema {schema}; this version of transfuse reads {SCHEMA}.")
    return dict(found)


def differences_in(folder: Path, record: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One row for the result and every parent: what is no longer as the record says."""
    result = _of_result(folder, record["tensors"])
    rows = [{"what": "result", "path": str(folder), "tensors": len(record["tensors"]), "changed": result}]
    parents = parents_again(record["recipe"])
    for path, tensors in record["parents"].items():
        changed = _of_parent(Path(path), parents.get(path), tensors)
        rows.append({"what": "parent", "path": path, "tensors": None, "changed": changed})
    return rows


def _of_result(folder: Path, tensors: Mapping[str, Mapping[str, str]]) -> list[str]:
    found = {name: e for file in sorted(folder.glob("*.safetensors")) for name, e in read_header(file).items()}
    strange = [f"{name} is new" for name in found if name not in tensors]
    return strange + _changed(found, {name: facts["digest"] for name, facts in tensors.items()})


def _of_parent(path: Path, read: Checkpoint | None, tensors: Mapping[str, str]) -> list[str]:
    """`read`: as it was read for the fusion; None when it cannot be any more."""
    if read is None and not path.exists():
        return ["it is missing"]
    return _changed((read or open_checkpoint(path)).entries, tensors)


def _changed(entries: Mapping[str, Entry], digests: Mapping[str, str]) -> list[str]:
    gone = [f"{name} is missing" for name in digests if name not in entries]
    there = [name for name in digests if name in entries]
    return gone + [f"{name} differs" for name in there if digest_of(entries[name]) != digests[name]]


def changes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every change as one line."""
    return [f"{row['what']} '{row['path']}': {change}" for row in rows for change in row["changed"]]
