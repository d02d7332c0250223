"""Judgements as SARIF 2.1.0, which code-scanning pages read (OASIS, 2020)."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from transfuse.weights.scanning.findings import Finding, Judgement

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {"reject": "error", "ask": "warning"}


def sarif(judgements: Iterable[Judgement], version: str, base: Path) -> dict[str, Any]:
    """One run of this tool, one result a finding; paths below `base` are told relative to it."""
    pairs = [(judgement, finding) for judgement in judgements for finding in judgement.findings]
    rules = sorted({finding.rule for _, finding in pairs})
    driver = {"name": "transfuse", "version": version, "rules": [_rule(rule, pairs) for rule in rules]}
    results = [_result(judgement, finding, rules, base) for judgement, finding in pairs]
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [{"tool": {"driver": driver}, "results": results}]}


def _rule(rule: str, pairs: Sequence[tuple[Judgement, Finding]]) -> dict[str, Any]:
    example = next(finding for _, finding in pairs if finding.rule == rule)
    return {
        "id": rule,
        "name": rule.title().replace("-", ""),
        "shortDescription": {"text": rule.replace("-", " ")},
        "help": {"text": example.advice},
    }


def _result(judgement: Judgement, finding: Finding, rules: list[str], base: Path) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(Path(judgement.path), base)}}
    if finding.byte is not None and not finding.where:  # an offset in a member is none in the file
        place["region"] = {"byteOffset": finding.byte, "byteLength": 0}
    location: dict[str, Any] = {"physicalLocation": place}
    if finding.where:
        location["logicalLocations"] = [{"fullyQualifiedName": finding.where}]
    return {
        "ruleId": finding.rule,
        "ruleIndex": rules.index(finding.rule),
        "level": _LEVELS[finding.verdict],
        "message": {"text": f"{finding.reason} {finding.advice}"},
        "locations": [location],
        "partialFingerprints": {"transfuse/v1": f"{judgement.digest[:32]}:{finding.rule}:{finding.where}"},
    }


def _uri(path: Path, base: Path) -> str:
    absolute = path.absolute()
    try:
        return quote(absolute.relative_to(base.absolute()).as_posix())
    except ValueError:
        return absolute.as_uri()
