"""Formats that cannot be looked into, or hold no weights at all: refused, with what to do instead."""

from collections.abc import Iterator

from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.findings import Finding

_PAGES = {".html", ".htm", ".xhtml"}
_UNPACK = "Unpack it yourself and scan what comes out."


def archive(content: Content) -> Iterator[Finding]:
    """7z, rar, zstandard, lz4: no reader for them is at hand."""
    yield Finding(
        verdict="reject",
        rule="archive-closed",
        reason="It is compressed in a way that is not looked into here.",
        advice=_UNPACK,
    )


def web_page(content: Content) -> Iterator[Finding]:
    """A page by its name is a page; under another name it is what a download gave instead of weights."""
    if content.suffix not in _PAGES:
        reason = "It is a web page, perhaps of a download that asked for a login."
        yield Finding(verdict="reject", rule="web-page", reason=reason, advice="Fetch the file itself.")


def git_lfs(content: Content) -> Iterator[Finding]:
    """A few lines that stand for a file which lies elsewhere."""
    reason = "It is a Git LFS pointer, not the file itself."
    yield Finding(verdict="reject", rule="git-lfs", reason=reason, advice="Fetch it with `git lfs pull`.")


def native(content: Content) -> Iterator[Finding]:
    """A program or a library for the processor."""
    reason = "It is a program or a library, which runs outside of any limits."
    yield Finding(verdict="reject", rule="native", reason=reason, advice="Weights never need it; leave it out.")
