"""Files that hold no weights: text, pictures and sounds, and nothing at all."""

from collections.abc import Iterator

from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.findings import Finding
from transfuse.weights.scanning.recognising import EXTENSIONS

_FETCH = "Fetch the file again."


def empty(content: Content) -> Iterator[Finding]:
    """No byte: a mark that a folder exists, or weights that are missing."""
    if content.suffix in EXTENSIONS:
        yield Finding(verdict="reject", rule="empty", reason="It is empty.", advice=_FETCH)


def media(content: Content) -> Iterator[Finding]:
    """Pictures, sounds and columns of data are read by decoders that run nothing."""
    return iter(())
