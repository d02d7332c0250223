"""Tar archives: every member by what it is, none that leads out of its folder."""

import tarfile
from collections.abc import Iterator

from transfuse.weights.scanning import inspecting
from transfuse.weights.scanning.archives.zips import check_name, window
from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.findings import Finding, located, refused
from transfuse.weights.scanning.pytorch.torch_tar import MEMBERS, torch_tar


def tar(content: Content) -> Iterator[Finding]:
    """Every member, through the inspection that its bytes call for."""
    try:
        found, end = _members(content)
    except (tarfile.TarError, EOFError, ValueError) as error:
        raise refused("tar-broken", f"Its tar archive is broken: {error}.", advice="Fetch it again.") from None
    _check_tail(content, end)
    windows = {name: _window(content, name, *place) for name, place in found.items()}
    if set(windows) >= MEMBERS:
        yield from torch_tar(windows)
        windows = {name: inner for name, inner in windows.items() if name not in MEMBERS}
    for name, inner in windows.items():
        yield from located(inspecting.inspect(inner), name)


def _window(content: Content, name: str, start: int, size: int) -> Content:
    return content.inside(name, window(content, start, size), size)


def _members(content: Content) -> tuple[dict[str, tuple[int, int]], int]:
    """Plain files by name with offset and size; and where the last member ends. Raises `Refused`."""
    content.stream.seek(0)
    found: dict[str, tuple[int, int]] = {}
    with tarfile.open(fileobj=content.stream, mode="r:", errorlevel=2) as archive:
        while (member := archive.next()) is not None:
            archive.members.clear()  # type: ignore[attr-defined]
            _check(content, member)
            if member.name in found:
                raise refused("archive-twice", "Two members have one name.", member.name)
            if member.isreg() and member.size:
                found[member.name] = member.offset_data, member.size
        return found, archive.offset  # type: ignore[attr-defined]


def _check(content: Content, member: tarfile.TarInfo) -> None:
    content.budget.members -= 1
    if content.budget.members < 0:
        raise refused("archive-members", "Its archives hold too many members.", content.name)
    if not (member.isreg() or member.isdir()):
        raise refused("archive-link", "A member is a link or a device, which leads out of the archive.", member.name)
    if member.sparse is not None:
        raise refused("archive-sparse", "A member has holes, which claim any size.", member.name)
    if member.isreg() or member.name.strip("./"):
        check_name(member.name)
    if member.offset_data + member.size > content.size:
        raise refused("tar-broken", "A member is cut short.", member.name, advice="Fetch it again.")


def _check_tail(content: Content, end: int) -> None:
    """Only zeros stand behind the last member."""
    content.stream.seek(end)
    while piece := content.stream.read(2**20):
        if piece.count(0) != len(piece):
            raise refused("archive-tail", "Bytes follow the end of its tar archive.", byte=end)
