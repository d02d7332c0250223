"""Formats that cannot be looked into, or hold no weights at all: refused, with what to do instead."""

from collections.abc import Iterator

from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.findings import Finding

_UNPACK = "Unpack it yourself and scan what comes out."


def archive(content: Content) -> Iterator[Finding]:
    """7z, rar, zstandard, lz4: no reader for them is at hand."""
    yield Finding(
        verdict="reject",
        rule="archive-closed",
        reason="It is compressed in a way that is not looked into here.",
        advice=_UNPACK,
    )
