"""A zip container of plain files, checked before its members are judged one by one."""

import zipfile
from collections.abc import Iterator
from dataclasses import replace
from typing import IO

from transfuse.weights.scanning.contents import Content, unpacked
from transfuse.weights.scanning.findings import Finding, refused
from transfuse.weights.scanning.places import strays

_PIECE = 2**20


def members(content: Content) -> Iterator[Content]:
    """Every member, unpacked within the budget, its checksum verified. Raises `Refused`."""
    content.stream.seek(0)
    with zipfile.ZipFile(content.stream) as archive:
        entries = archive.infolist()
        names = [entry.filename for entry in entries]
        if len(set(names)) != len(names):
            raise refused("zip-twice", "It holds two members of one name, so two readers could see different files.")
        content.budget.members -= len(entries)
        if content.budget.members < 0:
            raise refused("archive-members", "It holds too many files.")
        for entry in entries:
            wrong = strays(entry.filename)
            if wrong:
                raise refused("zip-path", f"Member '{entry.filename[:120]}' {wrong}.", where=entry.filename[:80])
            if entry.external_attr >> 28 == 0xA:
                raise refused("zip-link", f"Member '{entry.filename[:120]}' is a link.", where=entry.filename[:80])
            if not entry.is_dir():
                with archive.open(entry) as packed:
                    stream, size = unpacked(_pieces(packed), entry.compress_size, content.budget, entry.filename)
                with stream:
                    yield content.inside(entry.filename, stream, size)


def _pieces(stream: IO[bytes]) -> Iterator[bytes]:
    while piece := stream.read(_PIECE):
        yield piece


def judged_inside(found: Iterator[Finding], name: str) -> Iterator[Finding]:
    """Findings of a member, with the member's name before their place."""
    for finding in found:
        yield replace(finding, where=f"{name}: {finding.where}" if finding.where else name)
