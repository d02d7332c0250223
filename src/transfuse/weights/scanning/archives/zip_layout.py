"""Where the members of a zip archive lie, read so that no two readers can disagree about it.

A zip is described twice, by a directory at its end and by a header before every member, and most readers look at one of
them only. Here both must say the same, the members must lie side by side from the first byte to the directory, and
nothing may stand before, between or behind them: what a second reader would see is what was judged.
(PKWARE's APPNOTE 6.3; overlapping members: D. Fifield, "A better zip bomb", 2019.)
"""

import stat
import struct
import zlib
from dataclasses import dataclass

from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.findings import refused

STORED, DEFLATED, BZIPPED = 0, 8, 12
_END = struct.Struct("<4s4H2LH")
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_LOCAL = struct.Struct("<4s5H3L2H")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")
_FULL, _FULL_SHORT = 0xFFFFFFFF, 0xFFFF
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_PATCHED = 0x20
_DESCRIBED_BEHIND = 0x8
_UTF8 = 0x800
_LARGEST_DIRECTORY = 64 * 2**20
_UNICODE_PATH = 0x7075
_Entry = tuple[int, int, str, int, int, int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """One member, as the directory and its own header agree on it."""

    name: str
    method: int
    checksum: int
    packed: int
    """Bytes in the archive."""
    size: int
    """Bytes when unpacked."""
    start: int
    """Offset of its first byte."""

    @property
    def folder(self) -> bool:
        """Whether it is a folder, which holds nothing."""
        return self.name.endswith("/")


def members(content: Content) -> list[Member]:
    """The members in the order in which they lie. Raises `Refused` for a layout that is ambiguous."""
    entries, start = _listed(content)
    content.budget.members -= len(entries)
    return _side_by_side(content, sorted(entries, key=lambda entry: entry[0]), start)


def names_in(content: Content) -> list[str]:
    """Names in the directory, which tell what the archive is for. Raises `Refused`."""
    return [name for _, _, name, *_ in _listed(content)[0]]


def _listed(content: Content) -> tuple[list[_Entry], int]:
    """The entries of the directory, and its offset."""
    count, length, start = _directory(content)
    if count > content.budget.members or length > _LARGEST_DIRECTORY:
        raise refused("archive-members", "Its archives hold too many members.", content.name)
    data = content.read(start, length)
    entries, place = [], 0
    for _ in range(count):
        entry, place = _entry(data, place)
        entries.append(entry)
    if place != length:
        raise _hidden("Its directory holds more than its members.", start + place)
    return entries, start


def _hidden(reason: str, byte: int) -> Exception:
    return refused("zip-hidden", reason, byte=byte)


def _broken(what: str) -> Exception:
    return refused("zip-broken", f"Its zip container is broken: {what}.", advice="Fetch it again.")


def _directory(content: Content) -> tuple[int, int, int]:
    """(members, bytes of the directory, its offset)."""
    reach = min(content.size, 2**16 + _END.size)
    tail = content.read(content.size - reach, reach)
    at = tail.rfind(b"PK\x05\x06")
    if at < 0 or len(tail) - at < _END.size:
        raise _broken("it has no directory, as when it was cut short")
    end = content.size - reach + at
    _, disk, first_disk, here, count, length, start, comment = _END.unpack_from(tail, at)
    if end + _END.size + comment != content.size:
        raise _hidden("Bytes follow the end of its zip container.", end + _END.size + comment)
    if disk not in (0, _FULL_SHORT) or first_disk not in (0, _FULL_SHORT) or here != count:
        raise _broken("it is one part of several")
    follows = end
    if content.read(max(0, end - _LOCATOR_64.size), 4) == b"PK\x06\x07":
        count, length, start, follows = _directory_64(content, end, (count, length, start))
    elif _FULL in (length, start) or count == _FULL_SHORT:
        raise _broken("its sizes are missing")
    if start + length != follows:
        raise _hidden("Its directory does not lie where it says, or something stands before the archive.", 0)
    return count, length, start


def _directory_64(content: Content, end: int, small: tuple[int, int, int]) -> tuple[int, int, int, int]:
    _, _, place, _ = _LOCATOR_64.unpack(content.read(end - _LOCATOR_64.size, _LOCATOR_64.size))
    if place + _END_64.size != end - _LOCATOR_64.size:
        raise _broken("its large directory does not lie where it says")
    magic, _, _, _, _, _, here, count, length, start = _END_64.unpack(content.read(place, _END_64.size))
    if magic != b"PK\x06\x06" or here != count:
        raise _broken("its large directory is none")
    for value, said, full in zip((count, length, start), small, (_FULL_SHORT, _FULL, _FULL), strict=True):
        if said not in (full, value):
            raise _hidden("It has two directories that disagree.", place)
    return count, length, start, place


def _entry(data: bytes, place: int) -> tuple[_Entry, int]:
    """((header's offset, flags, name, method, checksum, packed, size), where the next entry begins)."""
    if len(data) - place < _CENTRAL.size or data[place : place + 4] != b"PK\x01\x02":
        raise _broken("its directory ends too early")
    fields = _CENTRAL.unpack_from(data, place)
    flags, method, checksum, packed, size = fields[3], fields[4], fields[7], fields[8], fields[9]
    name_length, extra_length, comment_length, mode, header = fields[10], fields[11], fields[12], fields[15], fields[16]
    place += _CENTRAL.size
    name = _name(data[place : place + name_length], flags)
    extra = data[place + name_length : place + name_length + extra_length]
    size, packed, header = _large(extra, (size, packed, header))
    _check_flags(name, flags, mode >> 16)
    _check_extra(name, extra)
    return (header, flags, name, method, checksum, packed, size), place + name_length + extra_length + comment_length


def _large(extra: bytes, values: tuple[int, int, int]) -> tuple[int, ...]:
    """Sizes and offsets beyond 4 GiB, which stand in the extra field 1."""
    if _FULL not in values:
        return values
    place = 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, place)
        if kind == 1:
            missing = sum(value == _FULL for value in values)
            if length < 8 * missing or place + 4 + length > len(extra):
                break
            found = iter(struct.unpack_from(f"<{missing}Q", extra, place + 4))
            return tuple(next(found) if value == _FULL else value for value in values)
        place += 4 + length
    raise _broken("the size of a member is missing")


def _check_extra(name: str, extra: bytes) -> None:
    """A second name, in Unicode, is what some readers unpack to."""
    place = 0
    while place + 4 <= len(extra):
        kind, length = struct.unpack_from("<2H", extra, place)
        if kind == _UNICODE_PATH and extra[place + 9 : place + 4 + length].decode("utf-8", "replace") != name:
            raise refused("zip-two-stories", "A member has two names that differ.", name)
        place += 4 + length


def _name(data: bytes, flags: int) -> str:
    try:
        return data.decode("utf-8" if flags & _UTF8 else "cp437")
    except UnicodeDecodeError:
        raise refused("archive-name", "The name of a member is no text.") from None


def _check_flags(name: str, flags: int, mode: int) -> None:
    if flags & _ENCRYPTED:
        raise refused(
            "archive-encrypted",
            "A member is encrypted, or says so, so it cannot be looked into.",
            name,
            advice="Unpack it yourself and scan what comes out.",
        )
    if flags & _PATCHED:
        raise refused("zip-flags", "A member says that it is a patch, which readers take differently.", name)
    kind = stat.S_IFMT(mode)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise refused("archive-link", "A member is a link or a device, which leads out of the archive.", name)


def _side_by_side(content: Content, entries: list[_Entry], end: int) -> list[Member]:
    """Members whose own headers agree, from byte 0 to the directory without a gap."""
    found, place = [], 0
    for header, flags, name, method, checksum, packed, size in entries:
        if header != place:
            what = "overlap" if header < place else "leave a gap, where something may hide"
            raise _hidden(f"Its members {what}.", place)
        start = _check_header(content, header, flags, name, (method, checksum, packed, size))
        place = start + packed + _behind(content, flags, start + packed, (checksum, packed, size))
        found.append(Member(name=name, method=method, checksum=checksum, packed=packed, size=size, start=start))
    if place != end:
        raise _hidden("Something hides between its members and its directory.", place)
    return found


def _check_header(content: Content, header: int, flags: int, name: str, said: tuple[int, int, int, int]) -> int:
    """Where the bytes of a member begin; its own header must repeat the directory."""
    data = content.read(header, _LOCAL.size)
    if len(data) < _LOCAL.size or data[:4] != b"PK\x03\x04":
        raise _broken(f"'{ascii(name)[:80]}' does not lie where its directory says")
    _, _, own_flags, method, _, _, checksum, packed, size, name_length, extra_length = _LOCAL.unpack(data)
    names = content.read(header + _LOCAL.size, name_length + extra_length)
    behind = bool(flags & _DESCRIBED_BEHIND)
    own = [*_large_or_empty(names[name_length:], size, packed)]
    numbers = [(checksum, said[1]), (own[1], said[2]), (own[0], said[3])]
    differ = any(mine != other and not (behind and mine == 0) for mine, other in numbers)
    if differ or method != said[0] or own_flags != flags or _name(names[:name_length], flags) != name:
        raise refused(
            "zip-two-stories",
            "The directory and a member's own header disagree, so two readers would see different files.",
            name,
            header,
        )
    return header + _LOCAL.size + name_length + extra_length


def _large_or_empty(extra: bytes, size: int, packed: int) -> tuple[int, ...]:
    try:
        return _large(extra, (size, packed, 0))
    except Exception:  # a header may leave sizes to what follows the member
        return size, packed


def _behind(content: Content, flags: int, place: int, said: tuple[int, int, int]) -> int:
    """Bytes of the description that may follow a member: [signature] checksum, packed and unpacked size."""
    if not flags & _DESCRIBED_BEHIND:
        return 0
    data = content.read(place, 24)
    for shape in ("<4x3L", "<4xL2Q", "<3L", "<L2Q"):
        length = struct.calcsize(shape)
        if len(data) >= length and struct.unpack_from(shape, data) == said:
            if shape[1] == "4" and data[:4] != b"PK\x07\x08":
                continue
            return length
    return 0


def checksum_of(content: Content, member: Member) -> int:
    """CRC-32 of the stored bytes of a member."""
    checksum, place, end = 0, member.start, member.start + member.packed
    content.stream.seek(place)
    while place < end:
        piece = content.stream.read(min(2**20, end - place))
        if not piece:
            break
        checksum, place = zlib.crc32(piece, checksum), place + len(piece)
    return checksum
