"""The settings that lie beside weights: which of them make a library fetch code, run code, or leave the folder.

Rules by key, for the files of transformers, diffusers, PEFT, sentence-transformers, MLflow and Hydra. None of them is
needed to read tensors. CVE-2026-4372: `_attn_implementation_internal` fetched a kernel without being asked.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from transfuse.weights.scanning.findings import Finding, refused
from transfuse.weights.scanning.keras.keras_configs import describes_keras, keras_config
from transfuse.weights.scanning.places import climbs, strays
from transfuse.weights.scanning.settings.documents import called
from transfuse.weights.scanning.settings.templates import template
from transfuse.weights.scanning.words import names

_DEPTH = 200
_FILE_SETTINGS = names(
    """
    tokenizer_config.json special_tokens_map.json processor_config.json preprocessor_config.json
    adapter_config.json config.json generation_config.json video_preprocessor_config.json modules.json
    """
)
_FILE_KEY = re.compile(r"(_file|_path|_filename|_dir|^filename|^file|^path|^transformers_weights)$")
_NOTES = frozenset({"special_tokens_map_file", "name_or_path", "_name_or_path", "output_dir", "logging_dir"})
"""Where a model was once trained; no library opens them."""
_SYSTEM = re.compile(
    r"^(file:/*)?[\\/]+(etc|proc|sys|dev|boot|var/run)([\\/]|$)|[\\/]\.(ssh|aws|config|netrc|bash)", re.IGNORECASE
)
_ATTENTION = names(
    """
    eager sdpa flash_attention_2 flash_attention_3 flash_attention_4 flex_attention xformers flash_attn math
    paged_attention paged|eager paged|sdpa paged|flash_attention_2 flash grouped_mm batched_mm triton auto
    flash_attention default
    """
)
_SIDE = re.compile(
    r"(size|dim|dims|layers|heads|units|channels|width|height|depth|experts|d_model|d_ff|n_embd|n_layer|n_positions)$"
)
_LAYERS = ("layers", "n_layer", "heads", "depth")
_LARGEST, _MOST_LAYERS = 2**26, 2**16
_CLASSES = frozenset({"activation_function", "activation_fn", "loss_fct"})
_BUILDERS = re.compile(r"(sentence_transformers|torch\.nn|transformers|setfit|pylate)(\.\w+)+")
_ADAPTED = frozenset(
    ["transformers", "diffusers", "timm", "torch", "torchvision", "peft", "sentence_transformers", "open_clip"]
)
_PIPELINES = frozenset(["diffusers", "transformers", "onnxruntime", "optimum", "flax", "peft", "null"])
_NO_CODE = "Open the weights alone: transfuse builds networks itself and never runs code of a repository."
_SETTINGS = "Correct or remove this setting; the weights themselves do not need it."


def document(found: Any, base: str) -> Iterator[Finding]:
    """Findings of one settings file; `base` is its name in lower case."""
    if describes_keras(found):
        yield from keras_config(found)
    if base in ("modules.json", "router_config.json"):
        yield from _modules(found)
    if base == "model_index.json" and isinstance(found, dict):
        yield from _pipeline(found)
    waiting: list[tuple[Any, int]] = [(found, 0)]
    while waiting:
        node, depth = waiting.pop()
        if depth > _DEPTH:
            raise refused("json-depth", f"It is nested more than {_DEPTH} deep.", advice="Fetch the file again.")
        if isinstance(node, dict):
            for key, value in node.items():
                yield from _entry(str(key), value, base)
            waiting += [(value, depth + 1) for value in node.values() if isinstance(value, dict | list)]
        elif isinstance(node, list):
            waiting += [(value, depth + 1) for value in node if isinstance(value, dict | list)]


def _entry(key: str, value: Any, base: str) -> Iterator[Finding]:
    rule = _KEYS.get(key)
    if rule:
        yield from rule(key, value)
    elif key.endswith("attn_implementation") or key in ("_attn_implementation_internal", "_experts_implementation"):
        yield from _kernel(key, value)
    elif "chat_template" in key:
        yield from _chat(key, value)
    elif isinstance(value, str):
        yield from _words(key, value, base)
    elif type(value) is int and base.endswith("config.json") and base != "tokenizer_config.json":
        yield from _size(key, value)


def _words(key: str, value: str, base: str) -> Iterator[Finding]:
    """Texts: hidden templates, classes by their place, files."""
    if "__" in value and ("{{" in value or "{%" in value):
        yield from (finding for finding in template(value, key) if finding.rule != "template-syntax")
    elif key in _CLASSES and "." in value and not _BUILDERS.fullmatch(value):
        yield _reject("config-class", f"Its '{key}' takes '{value[:80]}' from an arbitrary module.", key)
    elif value and base in _FILE_SETTINGS and key not in _NOTES and _FILE_KEY.search(key):
        yield from _path(key, value)


def _size(key: str, value: int) -> Iterator[Finding]:
    if _SIDE.search(key) and value > (_MOST_LAYERS if key.endswith(_LAYERS) else _LARGEST):
        yield _reject("config-size", f"Its '{key}' is {value:,}, which no machine can hold.", key)


def _auto_map(key: str, value: Any) -> Iterator[Finding]:
    told = list(value.values()) if isinstance(value, dict) else [value]
    names = [str(name) for part in told for name in (part if isinstance(part, list) else [part]) if name]
    if names:
        remote = "fetched from another repository" if any("--" in name for name in names) else "that lies in the folder"
        reason = f"It builds itself with Python code {remote}: {', '.join(names)[:120]}."
        yield Finding(verdict="reject", rule="remote-code", reason=reason, where=key, advice=_NO_CODE)


def _pipelines(key: str, value: Any) -> Iterator[Finding]:
    if value:
        names = ", ".join(map(str, value))[:80] if isinstance(value, dict | list) else str(value)[:80]
        reason = f"It brings pipelines of its own as Python code: {names}."
        yield Finding(verdict="reject", rule="remote-code", reason=reason, where=key, advice=_NO_CODE)


def _trusting(key: str, value: Any) -> Iterator[Finding]:
    if value is True or str(value).lower() in ("true", "1"):
        reason = f"It sets '{key}' itself: whether foreign code runs is for you to say, not for a file."
        yield Finding(verdict="reject", rule="remote-code", reason=reason, where=key, advice=_SETTINGS)


def _kernel(key: str, value: Any) -> Iterator[Finding]:
    """Attention by the name of a repository is native code that is downloaded."""
    for name in value.values() if isinstance(value, dict) else [value]:
        if isinstance(name, dict):
            yield from _kernel(key, name)
        elif name is not None and (not isinstance(name, str) or "/" in name or ":" in name):
            reason = f"Its '{key}' fetches native code from '{str(name)[:80]}'."
            yield Finding(verdict="reject", rule="remote-kernel", reason=reason, where=key, advice=_SETTINGS)
        elif name is not None and name not in _ATTENTION:
            reason = f"Its '{key}' is '{name[:80]}', which is none of the built-in ways."
            yield Finding(verdict="ask", rule="remote-kernel", reason=reason, where=key, advice=_SETTINGS)


def _kernels(key: str, value: Any) -> Iterator[Finding]:
    if value and value != "false":
        reason = f"It sets '{key}', by which native code is fetched and loaded."
        yield Finding(verdict="reject", rule="remote-kernel", reason=reason, where=key, advice=_SETTINGS)


def _chat(key: str, value: Any) -> Iterator[Finding]:
    """One template, several by name, or a list of names with templates."""
    if isinstance(value, str):
        yield from template(value, key)
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield from template(inner, f"{key} {name}"[:80]) if isinstance(inner, str) else ()
    elif isinstance(value, list):
        for inner in value:
            text = inner.get("template") if isinstance(inner, dict) else inner
            yield from template(text, key) if isinstance(text, str) else ()


def _shards(key: str, value: Any) -> Iterator[Finding]:
    for name in sorted({str(name) for name in value.values()}) if isinstance(value, dict) else []:
        wrong = strays(name) or ("lies where a scan does not look" if ".git" in name.split("/") else None)
        if wrong:
            yield _reject("path", f"It takes weights from '{name[:120]}', which {wrong}.", key)


def _base(key: str, value: Any) -> Iterator[Finding]:
    if isinstance(value, str) and value:
        yield from _path(key, value)


def _path(key: str, value: str) -> Iterator[Finding]:
    spoken = f"Its '{key}' leads to '{value[:120]}'"
    if climbs(value):
        yield _reject("path", f"{spoken}, which climbs out of the folder with '..'.", key)
    elif _SYSTEM.search(value):
        yield _reject("path", f"{spoken}, a place of the system.", key)
    elif strays(value):
        reason = f"{spoken}, which {strays(value)}."
        yield Finding(verdict="ask", rule="path", reason=reason, where=key, advice=_SETTINGS)


def _adapted(key: str, value: Any) -> Iterator[Finding]:
    library = value.get("parent_library") if isinstance(value, dict) else None
    if library and str(library).split(".")[0] not in _ADAPTED:
        yield _reject("config-class", f"It takes its base model's class from the module '{str(library)[:80]}'.", key)


def _flavour(key: str, value: Any) -> Iterator[Finding]:
    if isinstance(value, str) and not value.startswith("mlflow."):
        yield _reject("config-class", f"It is loaded by the module '{value[:80]}', which comes with it.", key)
    elif value == "mlflow.pyfunc.model":
        reason = "It is a Python model of MLflow: loading it unpickles its author's code."
        yield Finding(verdict="ask", rule="config-class", reason=reason, where=key, advice=_NO_CODE)


def _called(key: str, value: Any) -> Iterator[Finding]:
    yield from called(value, key)


def _pickled(key: str, value: Any) -> Iterator[Finding]:
    yield _reject("json-pickle", f"'{key}' makes jsonpickle build or call '{str(value)[:80]}'.", key)


def _modules(found: Any) -> Iterator[Finding]:
    """sentence-transformers imports the classes that `modules.json` names."""
    entries = found if isinstance(found, list) else []
    types = [entry.get("type") for entry in entries if isinstance(entry, dict)]
    if isinstance(found, dict) and isinstance(found.get("types"), dict):
        types += list(found["types"].values())
    for name in types:
        if not isinstance(name, str) or not _BUILDERS.fullmatch(name):
            reason = f"It builds a part from '{str(name)[:80]}', Python code of its own."
            yield Finding(verdict="reject", rule="remote-code", reason=reason, where="type", advice=_NO_CODE)


def _pipeline(found: Mapping[str, Any]) -> Iterator[Finding]:
    """diffusers builds each part from a library or from a file that lies beside it."""
    if isinstance(found.get("_class_name"), list):
        yield from _pipelines("_class_name", found["_class_name"])
    for part, named in found.items():
        if isinstance(named, list) and len(named) == 2 and isinstance(named[0], str) and named[0] not in _PIPELINES:
            reason = f"Part '{part[:60]}' is built by '{named[0][:60]}', which may be code in the folder."
            yield Finding(verdict="ask", rule="remote-code", reason=reason, where=part[:60], advice=_NO_CODE)


def _reject(rule: str, reason: str, where: str) -> Finding:
    return Finding(verdict="reject", rule=rule, reason=reason, where=where[:80], advice=_SETTINGS)


_KEYS: Mapping[str, Callable[[str, Any], Iterator[Finding]]] = {
    "auto_map": _auto_map,
    "custom_pipelines": _pipelines,
    "custom_pipeline": _pipelines,
    "trust_remote_code": _trusting,
    "allow_all_kernels": _trusting,
    "use_kernels": _kernels,
    "kernel_config": _kernels,
    "kernel_mapping": _kernels,
    "weight_map": _shards,
    "base_model_name_or_path": _base,
    "auto_mapping": _adapted,
    "loader_module": _flavour,
    "_target_": _called,
    "_instantiator": _called,
    "_component_": _called,
    "py/reduce": _pickled,
    "py/function": _pickled,
    "py/type": _pickled,
    "py/object": _pickled,
}
