"""Models of several tasks as one folder: a complete Model in a folder for each task, and a list of them.

Every task's folder can be taken, moved and given away alone, and is a source like any Model's, so the tensors of a
shared trunk lie in each of them. In memory they are there once again: bodies with the very same tensors become one
module, which runs once for all of its tasks.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from transfuse.core import atomic, digests, sums
from transfuse.core.errors import ModelError
from transfuse.core.nouns import Model
from transfuse.predicting import folder as single
from transfuse.predicting.folder import DOCUMENT, REPORT, TASKS, require_free
from transfuse.predicting.predict import sharing_a_trunk
from transfuse.sources.network import Network

SCHEMA = 1


def save(model: Model | Mapping[str, Model], folder: str | Path) -> Path:
    """Write one Model, or those of several tasks, as a folder: whole and at once, or not at all."""
    if isinstance(model, Model):
        return single.save(model, folder)
    folder = Path(folder)
    require_free(folder)
    trunks = {name: number for number, names in enumerate(sharing_a_trunk(model)) for name in names}
    with atomic.writing_folder(folder) as part:
        entries: list[dict[str, Any]] = []
        for name, place in _places(model).items():
            single.save(model[name], part / place)
            digest = digests.of_file(part / place / DOCUMENT)
            entries.append({"task": name, "folder": place, "trunk": trunks[name], "digest": digest})
        text = json.dumps({"schema": SCHEMA, "tasks": entries}, indent=2, ensure_ascii=False)
        (part / TASKS).write_text(text, encoding="utf-8", errors="backslashreplace")
        report = next(iter(model.values())).report
        if report is not None:
            report.save(part / REPORT)
            report.save(part / "report.json")
        (part / sums.SUMS).write_bytes(sums.of_part(part))
    return folder


def load(folder: str | Path, *, trust_code: bool = False) -> Model | dict[str, Model]:
    """Open a saved Model, or those of several tasks by name; raises `ModelError` when something was changed.

    `trust_code` is needed only for a network that was built by the user's own function.
    """
    folder = Path(folder)
    return atomic.steady(folder, lambda: _loaded(folder, trust_code))


def _loaded(folder: Path, trust_code: bool) -> Model | dict[str, Model]:
    if not (folder / TASKS).is_file():
        return single.load(folder, trust_code=trust_code)
    sums.require(folder, [TASKS], ModelError)
    entries = _read(folder / TASKS)
    models: dict[str, Model] = {}
    trunks: dict[int, nn.Module] = {}
    for entry in entries:
        path = folder / entry["folder"]
        if not (path / DOCUMENT).is_file() or digests.of_file(path / DOCUMENT) != entry["digest"]:
            raise ModelError(f"'{path}' is not the Model that was saved there. Restore the folder '{folder}'.")
        model = single.load(path, trust_code=trust_code)
        body = model.network.get_submodule("body")
        trunk = trunks.setdefault(entry["trunk"], body)
        _require_same(trunk, body, path)
        network = Network(trunk, model.network.get_submodule("head")).eval()
        models[entry["task"]] = replace(model, network=network)
    return models


def _places(models: Mapping[str, Model]) -> dict[str, str]:
    """A folder's name for each task: its own, without what file systems do not take, and told apart."""
    places: dict[str, str] = {}
    for number, name in enumerate(models):
        place = re.sub(r"[^\w.-]+", "_", name).strip("._")[:80] or f"task-{number}"
        places[name] = place if place.lower() not in {p.lower() for p in places.values()} else f"{place}-{number}"
    return places


def _read(path: Path) -> list[dict[str, Any]]:
    """The list of tasks, its form checked."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        schema, entries = document["schema"], document["tasks"]
        whole = all(
            isinstance(entry["trunk"], int) and entry["task"] and Path(entry["folder"]).name == entry["folder"]
            and isinstance(entry["digest"], str) for entry in entries
        )  # fmt: skip
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"'{path}' must be a list of tasks as it was saved, but cannot be read: {error}.") from error
    if schema != SCHEMA:
        raise ModelError(f"'{path}' has schema {schema}; this version of transfuse reads {SCHEMA}.")
    if not whole or not entries:
        raise ModelError(f"'{path}' must name a task and its folder in each entry, but does not. Restore it.")
    return list(entries)


def _require_same(trunk: nn.Module, body: nn.Module, path: Path) -> None:
    """Raise `ModelError` when a body is not the trunk that it is said to share."""
    ours, theirs = trunk.state_dict(), body.state_dict()
    if ours.keys() != theirs.keys() or not all(torch.equal(ours[name], theirs[name]) for name in ours):
        raise ModelError(f"'{path}' does not share the trunk of its neighbours any more. Restore the folder.")
