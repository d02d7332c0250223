"""The record of a fusion, beside its result: recipe, digests of parents and result, the fate of every tensor."""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import transfuse
from transfuse.core import digests
from transfuse.core.errors import ModelError
from transfuse.core.provenance import plain
from transfuse.fusing.checkpoints import Checkpoint
from transfuse.fusing.engine import digest_at
from transfuse.fusing.planning import Plan
from transfuse.fusing.recipes import Recipe
from transfuse.weights.headers import read_header

RECORD, SCHEMA = "fusion.json", 1


def identity_of(recipe: Recipe, plan: Plan, checkpoints: Mapping[str, Checkpoint]) -> str:
    """A digest of what will be done to which files as they are now; what an unfinished result must agree with."""
    works = [[w.name, str(w.dtype), list(w.shape), w.fate, plain(w.options)] for w in plan.works]
    return digests.of_value([transfuse.__version__, plain(recipe), works, stamps(checkpoints)])


def stamps(checkpoints: Mapping[str, Checkpoint]) -> list[Any]:
    """Size and time of change of every file of the parents."""
    files = [file for checkpoint in checkpoints.values() for file in checkpoint.files]
    return [[str(file.resolve()), file.stat().st_size, file.stat().st_mtime_ns] for file in files]


def document(
    recipe: Recipe, plan: Plan, parents: Mapping[str, Mapping[str, str]], results: Mapping[str, str]
) -> dict[str, Any]:
    """What is written: `parents` are digests by path and file, `results` those of the tensors of the result."""
    return {
        "schema": SCHEMA,
        "transfuse": transfuse.__version__,
        "recipe": plain(recipe),
        "parents": plain(parents),
        "tensors": {
            work.name: {"fate": work.fate, "why": work.reason, "digest": results[work.name]} for work in plan.works
        },
        "dropped": dict(plan.dropped),
    }


def digests_of(checkpoints: Mapping[str, Checkpoint], pool: ThreadPoolExecutor) -> Any:
    """Digests of every file of the parents, by path; a future for each, because they take as long as a copy."""
    found: dict[str, dict[str, Any]] = {}
    for path, checkpoint in checkpoints.items():
        for file in checkpoint.files:  # of an adapter, those of its base are told under the base
            own = file.parent == Path(path) or file == Path(path)
            told = found.setdefault(path if own else str(file.parent), {})
            if file.name not in told:
                told[file.name] = pool.submit(digests.of_file, file)
    return found


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
    for path, files in record["parents"].items():
        rows.append({"what": "parent", "path": path, "tensors": None, "changed": _of_parent(Path(path), files)})
    return rows


def _of_result(folder: Path, tensors: Mapping[str, Mapping[str, str]]) -> list[str]:
    found = {}
    for file in sorted(folder.glob("*.safetensors")):
        for name, entry in read_header(file).items():
            found[name] = (file, entry)
    changed = [f"{name} is new" for name in found if name not in tensors]
    for name, facts in tensors.items():
        if name not in found:
            changed.append(f"{name} is missing")
        elif digest_at(found[name][0], found[name][1].start, found[name][1].nbytes) != facts["digest"]:
            changed.append(f"{name} differs")
    return changed


def _of_parent(path: Path, files: Mapping[str, str]) -> list[str]:
    changed: list[str] = []
    for name, digest in files.items():
        file = path / name if path.is_dir() else path
        if not file.is_file():
            changed.append(f"{name} is missing")
        elif digests.of_file(file) != digest:
            changed.append(f"{name} differs")
    return changed


def changes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Every change as one line."""
    return [f"{row['what']} '{row['path']}': {change}" for row in rows for change in row["changed"]]


def of_file(recipe: Recipe, file: Path, parents: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """The record of a result that one file holds, every tensor of which was made by the recipe."""
    made = {
        name: {"fate": "merged", "why": recipe.method, "digest": digest_at(file, entry.start, entry.nbytes)}
        for name, entry in read_header(file).items()
    }
    return {
        "schema": SCHEMA, "transfuse": transfuse.__version__, "recipe": plain(recipe), "parents": plain(parents),
        "tensors": made, "dropped": {},
    }  # fmt: skip
