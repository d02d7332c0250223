"""A Model as a folder: tensors in safetensors, everything else in one JSON file, a card for people.

Opening a folder runs no code from it: the network is rebuilt by our code from plain values. What a probe's head was
made of lies in a file of its own, which may be deleted before the model is given away: it is personal data. The list
of digests (`SHA256SUMS`) covers every file; what a model answers by is compared with it whenever it is opened.
"""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from transfuse.core import atomic, digests, sums
from transfuse.core.errors import ModelError, TransfuseError
from transfuse.core.nouns import Model
from transfuse.core.provenance import plain, step_from
from transfuse.predicting import guard_file
from transfuse.predicting.card import card
from transfuse.predicting.learnt import LEARNT, facts_of, read_learnt, write_learnt
from transfuse.probing.learnt import Learnt
from transfuse.sources import inputs
from transfuse.sources.bodies import feature_size
from transfuse.sources.network import Network, head_from
from transfuse.sources.opening import rebuild
from transfuse.weights.files import read_tensors, write_tensors
from transfuse.weights.matching import load_into

SCHEMA = 1
DOCUMENT, TENSORS, REPORT, CARD = "model.json", "model.safetensors", "report.html", "README.md"
TASKS = "tasks.json"
"""Of a folder of several Models (see `several`)."""


def save(model: Model, folder: str | Path) -> Path:
    """Write the folder atomically: an older one is replaced only when the new one is complete."""
    folder = Path(folder)
    require_free(folder)
    with atomic.writing_folder(folder) as part:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.network.state_dict().items()}
        write_tensors(part / TENSORS, tensors, {"format": "pt"})
        if model.learnt is not None:
            write_learnt(part / LEARNT, model.learnt)
        text = json.dumps(_document(model, part), indent=2, ensure_ascii=False)
        (part / DOCUMENT).write_text(text, encoding="utf-8", errors="backslashreplace")
        (part / CARD).write_text(card(model), encoding="utf-8", errors="backslashreplace")
        if model.report is not None:
            model.report.save(part / REPORT)
            model.report.save(part / "report.json")
        (part / sums.SUMS).write_bytes(sums.of_part(part))
    return folder


def require_free(folder: str | Path) -> None:
    """Raise `ModelError` or `StorageError` when no model may or can be saved as `folder`: asked before long work."""
    folder = Path(folder)
    ours = (folder / DOCUMENT).exists() or (folder / TASKS).exists()
    if folder.exists() and not ours and (not folder.is_dir() or any(folder.iterdir())):
        raise ModelError(f"'{folder}' exists and is not a saved Model, so it is not replaced. Choose another folder.")
    atomic.require_writable(folder)


def load(folder: str | Path, *, trust_code: bool = False) -> Model:
    """Open a saved Model; raises `ModelError` when a file is missing or was changed after it was written.

    `trust_code` is needed only for a network that was built by the user's own function.
    """
    folder = Path(folder)
    return atomic.steady(folder, lambda: _loaded(folder, trust_code))


def _loaded(folder: Path, trust_code: bool) -> Model:
    document = read_document(folder)
    _require_same(folder / TENSORS, document.get("digest"))
    tensors = read_tensors(folder / TENSORS)
    try:
        return replace(_rebuilt(document, folder, tensors, trust_code), learnt=_learnt(folder, document))
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        if isinstance(error, TransfuseError):
            raise
        raise ModelError(
            f"'{folder / DOCUMENT}' does not describe a Model: {type(error).__name__} {error}. Restore the folder."
        ) from error


def _learnt(folder: Path, document: dict[str, Any]) -> Learnt | None:
    """What the head was made of; None when it was not kept, or when somebody deleted its file."""
    facts = document.get("learnt")
    if facts is None or not (folder / LEARNT).exists():
        return None
    _require_same(folder / LEARNT, facts["digest"])
    return read_learnt(folder / LEARNT, document["kind"], facts)


def _require_same(path: Path, digest: Any) -> None:
    if digests.of_file(path) != digest:
        raise ModelError(f"'{path}' is not the file that was saved: its digest differs. Restore the folder.")


def _rebuilt(document: dict[str, Any], folder: Path, tensors: dict[str, Any], trust_code: bool) -> Model:
    """The Model that a document and its tensors describe."""
    body = rebuild(document["builder"], trust_code=trust_code)
    head = head_from(document["head"], document["feature_size"], len(document["classes"]))
    network = Network(body, head)
    load_into(network, tensors)
    network.eval()
    known = {
        name: document[name]
        for name in ("name", "modality", "kind", "builder", "head", "temperature", "metrics", "licence")
    }
    scale = document["target_scale"]
    return Model(
        **known,
        classes=tuple(document["classes"]),
        preprocessing=inputs.from_plain(document["preprocessing"], folder),
        provenance=step_from(document["provenance"]),
        confidences=tuple(document.get("confidences", ())),
        target_scale=(tuple(scale[0]), tuple(scale[1])) if scale else None,
        guard=guard_file.read(document.get("guard"), folder),
        network=network,
    )


def read_document(folder: Path) -> dict[str, Any]:
    """The JSON of a saved Model, its schema checked."""
    missing = [name for name in (DOCUMENT, TENSORS) if not (folder / name).is_file()]
    if (folder / TASKS).is_file():
        names = sorted(path.parent.name for path in folder.glob(f"*/{DOCUMENT}"))
        raise ModelError(f"'{folder}' holds a Model for each of several tasks. Name one: {', '.join(names)}.")
    if missing:
        raise ModelError(f"'{folder}' must be a saved Model's folder, but has no {' and no '.join(missing)}.")
    sums.require(folder, [DOCUMENT], ModelError)
    try:
        document = json.loads((folder / DOCUMENT).read_text(encoding="utf-8"))
        schema = document["schema"]
    except (ValueError, KeyError, TypeError) as error:
        raise ModelError(f"'{folder / DOCUMENT}' must be a saved Model's JSON, but cannot be read: {error}.") from error
    if schema != SCHEMA:
        raise ModelError(f"'{folder}' has schema {schema}; this version of transfuse reads {SCHEMA}.")
    return document


def _document(model: Model, part: Path) -> dict[str, Any]:
    learnt = None
    if model.learnt is not None:
        learnt = {"digest": digests.of_file(part / LEARNT), **facts_of(model.learnt)}
    return {
        "schema": SCHEMA,
        "name": model.name,
        "modality": model.modality,
        "kind": model.kind,
        "classes": list(model.classes),
        "builder": plain(model.builder),
        "feature_size": feature_size(model.network.get_submodule("body"), model.preprocessing),
        "head": plain(model.head),
        "preprocessing": inputs.written(model.preprocessing, part),
        "temperature": model.temperature,
        "target_scale": plain(model.target_scale),
        "confidences": list(model.confidences),
        "licence": model.licence,
        "metrics": plain(model.metrics),
        "digest": digests.of_file(part / TENSORS),
        "learnt": plain(learnt),
        "guard": guard_file.written(model.guard, part),
        "provenance": plain(model.provenance),
    }
