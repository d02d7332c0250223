"""References to networks that read texts: a folder of transformers or sentence-transformers, or a name on the hub.

hf:NAME            from the hub, or from its cache
FOLDER, hf:FOLDER  with config.json, tokenizer.json and weights
random:hf:...      the same network with random weights
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from transfuse.core import digests
from transfuse.core.documents import json_object
from transfuse.core.errors import NotCached, SourceError, UsageError
from transfuse.core.nouns import Source, TextPreprocessing
from transfuse.sources.hub import offline_words, reachable
from transfuse.sources.texts import networks
from transfuse.weights import gate
from transfuse.weights.libraries import require_safe

MOST = 512
"""Tokens that are read by default, at most: attention costs their square. More with `max_length`."""
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json")
_WANTED = ["*.json", "*/config.json", "README.md", "LICENSE*", "vocab.txt", "*.model", "merges.txt"]
_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "last",
    "pooling_mode_max_tokens": "max",
}
_UNTOLD = ("hf", "model", "checkpoint", "weights", "pytorch")


@dataclass(frozen=True, kw_only=True)
class TextOptions:
    """What a user may say about a source of texts, in place of what it says itself."""

    max_length: int | None = None
    prompt: str | None = None
    """The prompt, or the name of one of the source's."""
    pooling: str | None = None
    cut: str | None = None
    """`end` or `start`."""


def is_network(folder: Path) -> bool:
    """Whether a folder holds a network of transformers."""
    return (folder / "config.json").is_file() and not (folder / "model.json").is_file()


def find_text(reference: str, name: str, *, random: bool, trust_code: bool, options: TextOptions) -> Source:
    """What a reference means. Raises `NotCached`, `SourceError`, `UsageError`."""
    path = Path(name).expanduser()
    folder = path.resolve() if path.is_dir() else _downloaded(name, weights=not random)
    if not is_network(folder):
        raise SourceError(f"'{folder}' must hold a network of transformers, but has no config.json.")
    document = json_object(folder / "config.json", SourceError)
    code = networks.needs_code(document)
    if code and not trust_code:
        raise UsageError(
            f"'{reference}' comes with code of its own, which must be trusted: read it, then pass `trust_code=True` (on"
            " the command line `--trust-code`)."
        )
    pooling, unit = _pooling(folder, document, options.pooling)
    builder: dict[str, Any] = {"transformers": document, "pooling": pooling, "unit": unit}
    if code:
        builder["code"] = str(folder)
    weights = None if random else _weights(folder, reference)
    preprocessing = _preprocessing(folder, document, options)
    contents = [digests.of_value(builder), preprocessing.digest, *(_digests(weights) if weights else ["random"])]
    return Source(
        reference=reference,
        name=f"random {_name(folder, name)}" if random else _name(folder, name),
        modality="text",
        origin="hf",
        builder=builder,
        weights=str(weights) if weights else None,
        preprocessing=preprocessing,
        licence="none (random weights)" if random else _licence(folder),
        digest=digests.of_many(contents),
    )


def _preprocessing(folder: Path, document: Mapping[str, Any], options: TextOptions) -> TextPreprocessing:
    """Tokenizer, length, prompt."""
    tokenizer = _tokenizer(folder)
    length, known = _max_length(folder, document)
    places = int(document.get("max_position_embeddings") or 0)
    if options.max_length is not None:
        if options.max_length < 4 or (places and options.max_length > places):
            most = f" and at most {places}, its positions" if places else ""
            raise UsageError(f"`max_length` must be at least 4{most}, but is {options.max_length}.")
        length, known = options.max_length, True
    cut: Any = options.cut or "end"
    if cut not in ("end", "start"):
        raise UsageError(f"`cut` must be 'end' or 'start', but is '{cut}'.")
    return TextPreprocessing(
        tokenizer=str(tokenizer),
        digest=digests.of_file(tokenizer),
        max_length=length,
        cut=cut,
        prompt=_prompt(folder, options.prompt),
        known=known,
    )


def _max_length(folder: Path, document: Mapping[str, Any]) -> tuple[int, bool]:
    """Tokens that are read, and whether the source says so."""
    said = [
        _optional(folder / "sentence_bert_config.json").get("max_seq_length"),
        _optional(folder / "tokenizer_config.json").get("model_max_length"),
        document.get("max_position_embeddings"),
        document.get("n_positions"),
    ]
    found = next((int(value) for value in said if isinstance(value, int | float) and 4 <= value <= 1_000_000), None)
    return (min(found, MOST), True) if found else (MOST, False)


def _prompt(folder: Path, given: str | None) -> str:
    document = _optional(folder / "config_sentence_transformers.json")
    prompts: Mapping[str, str] = document.get("prompts") or {}
    if given is not None:
        return str(prompts.get(given, given))
    return str(prompts.get(str(document.get("default_prompt_name")), ""))


def _pooling(folder: Path, document: Mapping[str, Any], given: str | None) -> tuple[str, bool]:
    """How states become one vector, and whether it is scaled to length 1: as the sentence encoder says; otherwise the
    mean, which serves encoders that were not trained for their first token, and small decoders, best."""
    unit = "Normalize" in (folder / "modules.json").read_text() if (folder / "modules.json").is_file() else False
    if given is not None:
        if given not in networks.POOLINGS:
            raise UsageError(f"`pooling` must be one of {', '.join(networks.POOLINGS)}, but is '{given}'.")
        return given, unit
    said = [_optional(path) for path in sorted(folder.glob("*_Pooling/config.json"))]
    return next((mode for key, mode in _POOLINGS.items() if any(one.get(key) for one in said)), "mean"), unit


def _tokenizer(folder: Path) -> Path:
    """`tokenizer.json`, made from the older files of a tokenizer where there is none."""
    path = folder / "tokenizer.json"
    if path.is_file():
        return path
    require_safe("transformers")
    for settings in sorted(folder.glob("*token*.json")):  # which may name files outside the folder, or code
        gate.require_accepted(settings)
    from transformers import AutoTokenizer

    from transfuse.core import atomic
    from transfuse.core.places import cache_folder

    try:
        fast = AutoTokenizer.from_pretrained(str(folder), trust_remote_code=False).backend_tokenizer.to_str()
    except Exception as error:  # transformers raises anything for files that are missing or broken
        why = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise SourceError(
            f"'{folder}' must hold a tokenizer (tokenizer.json), but has none that opens: {why}"
        ) from error
    made = cache_folder() / "tokenizers" / f"{digests.of_bytes(fast.encode())[:24]}.json"
    atomic.write_text(made, fast)
    return made


def _weights(folder: Path, reference: str) -> Path:
    found = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if found is None:
        raise SourceError(
            f"'{folder}' must hold weights ({', '.join(_WEIGHTS[:1] + _WEIGHTS[2:3])}), but has none. With random ones:"
            f" random:hf:{reference.removeprefix('hf:')}"
        )
    return found


def _digests(weights: Path) -> list[str]:
    return [digests.of_file(part) for part in networks.shards(weights)]


def _downloaded(name: str, *, weights: bool) -> Path:
    """The hub's copy on this disk: from its cache, or downloaded. Raises `NotCached`, `SourceError`."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name):
        raise SourceError(f"There is no folder '{name}', and a name on the hub is like 'owner/name'.")
    patterns = [*_WANTED, *(["*.safetensors"] if weights else [])]
    for local in (True, False):
        if not local and not reachable():
            raise NotCached(_not_cached(name, "the hub cannot be reached"))
        try:
            folder = Path(snapshot_download(name, allow_patterns=patterns, local_files_only=local))
            if weights and not any((folder / one).is_file() for one in _WEIGHTS):
                if local:
                    continue
                folder = Path(snapshot_download(name, allow_patterns=["pytorch_model*"]))
            return folder
        except (RepositoryNotFoundError, HFValidationError) as error:
            raise SourceError(f"The hub has no repository '{name}'.") from error
        except LocalEntryNotFoundError as error:
            if not local:
                raise NotCached(_not_cached(name, str(error))) from error
        except Exception as error:  # httpx, urllib3, OSError: a dozen types mean that there is no network
            raise NotCached(_not_cached(name, str(error))) from error
    raise SourceError(f"The hub has no weights that can be opened for '{name}'.")


def cached() -> list[str]:
    """Names of the hub's networks that open without a network: those with a configuration and a tokenizer."""
    from huggingface_hub import scan_cache_dir

    try:
        repositories = scan_cache_dir().repos
    except Exception:  # no cache folder yet
        return []
    files = {one.repo_id: {f.file_name for v in one.revisions for f in v.files} for one in repositories}
    return sorted(f"hf:{name}" for name, held in files.items() if {"config.json", "tokenizer.json"} <= held)


def _not_cached(name: str, reason: str) -> str:
    held = ", ".join(cached()) or "nothing"
    return (
        f"'hf:{name}' must be downloaded, but that failed: {offline_words(reason)}. Cached: {held}. Without a network"
        " work builtin:words, a local folder with config.json, tokenizer.json and weights, and a saved Model's folder."
    )


def _name(folder: Path, name: str) -> str:
    if not Path(name).expanduser().is_dir():
        return name
    return f"{folder.parent.name}/{folder.name}" if folder.name.lower() in _UNTOLD else folder.name


def _licence(folder: Path) -> str:
    """What the card's head says, or the first line of a licence file, or `unknown`."""
    card = folder / "README.md"
    if card.is_file():
        head = card.read_text(errors="replace").split("---")[1:2]
        found = re.search(r"^licen[cs]e:\s*(\S.*)$", head[0], re.MULTILINE) if head else None
        if found:
            return found.group(1).strip().strip("'\"")
    for path in sorted(folder.glob("LICEN[CS]E*")):
        lines = [line.strip() for line in path.read_text(errors="replace").splitlines() if line.strip()]
        if lines:
            return f"{lines[0][:80]} ({path.name})"
    return "unknown"


def _optional(path: Path) -> dict[str, Any]:
    return json_object(path, SourceError) if path.is_file() else {}
