"""What picklescan, a block list kept by others, says of a file: it may only add to our own verdict, never lift it."""

from collections.abc import Iterator
from pathlib import Path

from transfuse.core.errors import MissingExtra
from transfuse.weights.scanning.findings import Finding


def require_picklescan() -> None:
    """Raise `MissingExtra` where picklescan is not installed."""
    try:
        import picklescan.scanner  # noqa: F401
    except ImportError as error:
        raise MissingExtra("`--strict` needs picklescan. Install it: pip install 'transfuse[strict]'.") from error


def second_opinion(path: Path) -> Iterator[Finding]:
    """A rejection for what picklescan holds to be dangerous, and a question where it could not read."""
    from picklescan.scanner import SafetyLevel, scan_file_path

    try:
        found = scan_file_path(str(path), strict=False)
    except Exception as error:  # a tool that stumbles has no opinion
        yield _finding("ask", f"picklescan cannot read it: {type(error).__name__}.")
        return
    dangerous = sorted(f"{one.module}.{one.name}" for one in found.globals if one.safety == SafetyLevel.Dangerous)
    if dangerous or found.infected_files:
        yield _finding("reject", f"picklescan holds it to be dangerous: {', '.join(dangerous[:5]) or 'no name given'}.")
    elif found.scan_err:
        yield _finding("ask", "picklescan could not read it to the end.")


def _finding(verdict: str, reason: str) -> Finding:
    return Finding(verdict=verdict, rule="second-opinion", reason=reason)  # type: ignore[arg-type]
