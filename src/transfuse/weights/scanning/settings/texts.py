"""Text files: what a model's library would read from them, and scripts that somebody may run."""

import re
from collections.abc import Iterator

from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.findings import Finding
from transfuse.weights.scanning.protobuf.savedmodel import judged
from transfuse.weights.scanning.settings.documents import parsed, parsed_yaml, yaml_tags
from transfuse.weights.scanning.settings.repositories import document
from transfuse.weights.scanning.settings.templates import template

_TEMPLATES = (".jinja", ".jinja2", ".j2", ".template")
_SCRIPTS = {
    ".py": "Python code", ".pyw": "Python code", ".sh": "a script of the shell", ".bash": "a script of the shell",
    ".bat": "a script of Windows", ".cmd": "a script of Windows", ".ps1": "a script of Windows",
    ".vbs": "a script of Windows", ".js": "JavaScript code", ".pl": "Perl code", ".rb": "Ruby code", ".lua": "Lua code",
}  # fmt: skip
_LARGEST = 64 * 2**20
_FRONT = re.compile(r"\A---[ \t]*\r?\n(.*?\r?\n)(---|\.\.\.)[ \t]*\r?\n?", re.DOTALL)
_LAYER = re.compile(rb'<layer [^>]*version="([^"]*)"')
_OPERATION = re.compile(r'\bop:\s*"(\w+)"')


def text(content: Content) -> Iterator[Finding]:
    """By the name: settings, templates, the head of a model's card, scripts; other text is only read."""
    base, suffix = content.name.rpartition("!")[2].rpartition("/")[2].lower(), content.suffix
    if suffix == ".json":
        yield from document(parsed(content.read(0, content.size)), base)
    elif suffix in _TEMPLATES:
        yield from template(_words(content), base)
    elif suffix in (".yaml", ".yml") or base == "mlmodel":
        yield from _yaml(_words(content), base)
    elif suffix in (".md", ".markdown"):
        front = _FRONT.match(_words(content))
        yield from _yaml(front.group(1), "model card") if front else ()
    elif suffix == ".pbtxt":
        for name in sorted(set(_OPERATION.findall(_words(content)))):
            finding = judged(name)
            if finding and finding.verdict == "reject":
                yield finding
    elif suffix == ".xml":
        yield from _xml(content.read(0, _LARGEST))
    elif suffix in _SCRIPTS or content.read(0, 2) == b"#!":
        yield Finding(
            verdict="ask",
            rule="script",
            reason=f"It is {_SCRIPTS.get(suffix, 'a script')}; the weights beside it open without it.",
            advice="Read it before you run it or allow remote code.",
        )


def _xml(words: bytes) -> Iterator[Finding]:
    """A network of OpenVINO, or any table: no texts that unfold, no layers that a library must bring."""
    if b"<!ENTITY" in words:
        reason = "It defines texts that unfold or are taken from elsewhere, which no network needs."
        yield Finding(verdict="reject", rule="xml-entity", reason=reason, byte=words.index(b"<!ENTITY"))
    strange = {version for version in _LAYER.findall(words) if not version.startswith(b"opset")}
    if b"<net " in words and strange:
        reason = f"Layers of '{min(strange)[:40].decode(errors='replace')}' need a library of operators, which is code."
        advice = "Open it only with a library of operators that you know and trust."
        yield Finding(verdict="ask", rule="openvino-custom", reason=reason, advice=advice)


def _words(content: Content) -> str:
    return content.read(0, _LARGEST).decode(errors="backslashreplace")


def _yaml(words: str, base: str) -> Iterator[Finding]:
    tags = list(yaml_tags(words))
    documents, findings = parsed_yaml(words)
    yield from findings or tags
    for found in documents:
        yield from document(found, base)
