"""What a scan says: findings with a reason in plain words, and the verdict that they add up to."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

Verdict = Literal["accept", "ask", "reject"]
_ORDER: tuple[Verdict, ...] = ("accept", "ask", "reject")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing about a file that speaks against opening it."""

    verdict: Verdict
    """`reject`: do not open. `ask`: legitimate, but opening it runs code, so a person decides."""
    rule: str
    """A stable name, as `pickle-name`; what a suppression or a code-scanning page refers to."""
    reason: str
    """One sentence that a person understands."""
    where: str = ""
    """The member of an archive, the tensor or the key."""
    byte: int | None = None
    """Offset in the file or in the member."""
    advice: str = "Do not open it; ask for the same weights as safetensors."


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """What a scan found in one file or folder."""

    path: str
    kind: str
    """What it is by its bytes, as `torch zip`."""
    size: int
    """Bytes."""
    digest: str
    """SHA-256 of the bytes that were judged; empty for a folder."""
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def verdict(self) -> Verdict:
        """The worst of the findings; `accept` where there is none."""
        return worst(self.findings)


def judgement_of(document: Mapping[str, Any]) -> Judgement:
    """A judgement from its plain values, as `dataclasses.asdict` gives them. Raises `ValueError` for other values."""
    try:
        findings = tuple(Finding(**finding) for finding in document["findings"])
        return Judgement(**{**document, "findings": findings})
    except (TypeError, KeyError) as error:
        raise ValueError(f"not a judgement: {error}") from error


def worst(findings: Iterable[Finding]) -> Verdict:
    """The gravest verdict among findings."""
    return max((finding.verdict for finding in findings), key=_ORDER.index, default="accept")


def located(found: Iterable[Finding], name: str) -> Iterator[Finding]:
    """Findings of a member, with the member's name before their place."""
    for finding in found:
        yield replace(finding, where=f"{name}: {finding.where}" if finding.where else name)


class Refused(Exception):
    """Raised inside an inspection to end it with a finding; never leaves `inspecting`."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.reason)
        self.finding = finding


def refused(rule: str, reason: str, where: str = "", byte: int | None = None, **advice: Any) -> Refused:
    """A rejection to raise."""
    return Refused(Finding(verdict="reject", rule=rule, reason=reason, where=where, byte=byte, **advice))
