"""JSON and YAML read as plain tables: no tags, no constructors, no bombs, nothing told twice."""

import json
import re
from collections.abc import Iterator
from typing import Any

from transfuse.weights.scanning.findings import Finding, refused
from transfuse.weights.scanning.words import names

_LARGEST = 512 * 2**20
_MOST_TABLES = 5_000_000
_LARGEST_YAML = 2**18
_MOST_NODES = 1_000_000
_FETCH = "Fetch the file again; if it stays so, do not open it."
_TAGS = re.compile(r"!!?python[/:]|tag:yaml\.org,2002:python|^%TAG\b", re.MULTILINE)
_CALLS = re.compile(r"!(new|apply|name|obj|call|object):")


def parsed(text: bytes) -> Any:
    """A JSON document. Raises `Refused`."""
    if len(text) > _LARGEST or text.count(b"{") + text.count(b"[") > _MOST_TABLES:
        raise refused("json-size", f"Its JSON of {len(text):,} bytes is larger than any configuration.", advice=_FETCH)
    try:
        return json.loads(text.decode("utf-8-sig"), object_pairs_hook=_told_once)
    except RecursionError:
        raise refused("json-depth", "Its JSON is nested too deeply.", advice=_FETCH) from None
    except ValueError as error:
        raise refused("json", f"It is no JSON text: {str(error)[:120]}.", advice=_FETCH) from None


def _told_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A table; a key told twice with two values is refused, but for numbers, since vocabularies repeat words."""
    told = dict(pairs)
    if len(told) != len(pairs):
        for name, value in pairs:
            if type(value) not in (int, float) and value != told[name]:
                reason = f"It gives '{name[:80]}' twice, so two readers could see different values."
                raise refused("json-twice", reason, where=name[:80], advice=_FETCH)
    return told


def yaml_tags(text: str) -> Iterator[Finding]:
    """Tags by which YAML's full loader calls Python."""
    found = _TAGS.search(text)
    if found:
        reason = f"The YAML tag '{text[found.start() :][:60].split()[0]}' calls Python when it is read."
        yield Finding(verdict="reject", rule="yaml-tag", reason=reason, byte=len(text[: found.start()].encode()))


def parsed_yaml(text: str) -> tuple[list[Any], list[Finding]]:
    """Each document as plain tables of texts, and what its tags say. Raises `Refused`."""
    import yaml

    if len(text) > _LARGEST_YAML:
        return [], []  # `yaml_tags` has looked at it; a reader in Python takes 10 s a megabyte
    findings: list[Finding] = []
    try:
        nodes = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
        return [_plain(node, {}, set(), findings) for node in nodes if node is not None], findings
    except RecursionError:
        raise refused("yaml-depth", "Its YAML is nested too deeply.", advice=_FETCH) from None
    except yaml.YAMLError:
        return [], findings  # no reader takes it, so none is harmed


def _plain(node: Any, sizes: dict[int, tuple[Any, int]], within: set[int], findings: list[Finding]) -> Any:
    return _sized(node, sizes, within, findings)[0]


def _sized(node: Any, sizes: dict[int, tuple[Any, int]], within: set[int], findings: list[Finding]) -> tuple[Any, int]:
    """A node's value and how many values it unfolds to, aliases told out."""
    mark = id(node)
    if mark in within:
        raise refused("yaml-circle", "Its YAML holds itself.", advice=_FETCH)
    if mark in sizes:
        return sizes[mark]
    _judge_tag(str(node.tag), node.start_mark.index, findings)
    within.add(mark)
    value: Any
    if isinstance(node.value, str):
        value, size = node.value, 1
    else:
        pairs = isinstance(node.value, list) and bool(node.value) and isinstance(node.value[0], tuple)
        if pairs:
            inner = [
                (_sized(key, sizes, within, findings), _sized(item, sizes, within, findings))
                for key, item in node.value
            ]
            value = {str(key[0]) if isinstance(key[0], str) else "?": item[0] for key, item in inner}
            size = 1 + sum(key[1] + item[1] for key, item in inner)
        else:
            items = [_sized(item, sizes, within, findings) for item in node.value]
            value, size = [item[0] for item in items], 1 + sum(item[1] for item in items)
    within.remove(mark)
    if size > _MOST_NODES:
        raise refused("yaml-bomb", f"Its YAML unfolds to more than {_MOST_NODES:,} values.", advice=_FETCH)
    sizes[mark] = value, size
    return value, size


def _judge_tag(tag: str, place: int, findings: list[Finding]) -> None:
    if "python" in tag and tag.startswith(("tag:yaml.org,2002:python", "!python", "!!python")):
        reason = f"The YAML tag '{tag[:80]}' calls Python when it is read."
        findings.append(Finding(verdict="reject", rule="yaml-tag", reason=reason, byte=place))
    elif _CALLS.match(tag):
        findings.extend(called(tag.partition(":")[2], f"the tag '{tag[:40]}'"))


_LIBRARIES = names(
    """
    torch torchvision torchaudio torchtune torchmetrics transformers diffusers datasets peft timm nemo lightning
    lightning_fabric pytorch_lightning speechbrain keras tensorflow sklearn numpy omegaconf monai detectron2
    fairseq espnet espnet2 hydra_plugins megatron accelerate open_clip
    """
)
_REACHING = re.compile(
    r"(^|[._])(os|sys|subprocess|system|popen|exec|eval|hub|load|import\w*|builtins|_\w*)($|\.)", re.IGNORECASE
)


def called(name: Any, where: str) -> Iterator[Finding]:
    """A configuration that names what to call (Hydra's `_target_` and its like)."""
    spoken = str(name)[:80]
    if isinstance(name, str) and name.split(".")[0] in _LIBRARIES and not _REACHING.search(name):
        reason = f"Its configuration calls '{spoken}' of an installed library ({where})."
        advice = "Open it only with a program that checks such names, or build the network yourself."
        yield Finding(verdict="ask", rule="config-call", reason=reason, where=spoken, advice=advice)
    elif isinstance(name, str) and name:
        reason = f"Its configuration calls '{spoken}' ({where}), which belongs to no library of networks."
        yield Finding(verdict="reject", rule="config-call", reason=reason, where=spoken)
