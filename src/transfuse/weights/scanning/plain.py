"""Files that hold no weights: text, pictures and sounds, and nothing at all."""

from collections.abc import Iterator

from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.findings import Finding
from transfuse.weights.scanning.targets import targets

_FETCH = "Fetch the file again."
_CONFIGURATIONS = {".yaml", ".yml", ".json"}
_LONGEST = 64 * 2**20


def empty(content: Content) -> Iterator[Finding]:
    """No byte."""
    yield Finding(verdict="reject", rule="empty", reason="It is empty.", advice=_FETCH)


def media(content: Content) -> Iterator[Finding]:
    """Pictures, sounds and columns of data are read by decoders that run nothing."""
    return iter(())


def text(content: Content) -> Iterator[Finding]:
    """Text is read, not run, but for what a configuration names to be called."""
    if content.suffix in _CONFIGURATIONS and content.size <= _LONGEST:
        yield from targets(content.read(0, content.size))
