"""Files of `torch.save`: one folder of stored records in a zip, or the five pickles and the storages of before 1.6.

A record must be as long as the pickle says: torch follows the pickle's numbers, and with `mmap=True` it gave back
the neighbouring bytes. Every record has a use and a right checksum, which torch does not look at.
Format: `torch/serialization.py`, `caffe2/serialize/inline_container.cc`.
"""

import struct
from collections.abc import Iterator
from typing import Any

from transfuse.weights.scanning.archives.zip_layout import STORED, Member
from transfuse.weights.scanning.archives.zips import checked_members, opened, verify
from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.findings import Finding, refused
from transfuse.weights.scanning.pickled.machine import Machine
from transfuse.weights.scanning.pickled.names import ITEM_SIZES
from transfuse.weights.scanning.pickled.pickles import walked
from transfuse.weights.scanning.pickled.values import Node, Symbol, is_int

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001
_SIDES = {"version", "byteorder", ".format_version", ".storage_alignment", ".data/serialization_id", "data.pkl"}
_MOST_STORAGES = 1_000_000


class Storages:
    """The storages that a pickle refers to, and what it claims of each."""

    def __init__(self) -> None:
        self.claimed: dict[str, tuple[str, int]] = {}
        """Key: (name of the class, elements)."""

    def persistent(self, machine: Machine, identifier: Any) -> Node | Symbol:
        """The stand-in for a storage; info is (bytes of an element, bytes in all, class)."""
        if isinstance(identifier, tuple) and len(identifier) == 4 and identifier[0] == "module":
            return self._module(machine, identifier[1])
        if not isinstance(identifier, tuple) or len(identifier) not in (5, 6) or identifier[0] != "storage":
            raise machine.refuse("torch-storage", "It refers to something outside that is no storage.")
        _, cls, key, place, elements = identifier[:5]
        if (
            not isinstance(cls, Symbol)
            or cls.name not in ITEM_SIZES
            or not key
            or not all(isinstance(text, str) for text in (key, place))
        ):
            raise machine.refuse("torch-storage", "It refers to a storage without a type or a name.")
        if not is_int(elements) or elements < 0:
            raise machine.refuse("torch-storage", f"Storage '{key}' claims a length that is none.")
        if self.claimed.setdefault(key, (cls.name, elements)) != (cls.name, elements):
            raise machine.refuse("torch-storage", f"Storage '{key}' is claimed in two ways.")
        if len(identifier) == 6:
            elements = self._viewed(machine, identifier[5], elements)
        return machine.node("storage", (ITEM_SIZES[cls.name], elements * ITEM_SIZES[cls.name], cls.name))

    def _module(self, machine: Machine, cls: Any) -> Symbol:
        """A class beside its source text, as torch kept whole modules before 1.6; the text is only compared."""
        if not isinstance(cls, Symbol) or not cls.asked:
            raise machine.refuse("torch-storage", "It refers to something outside that is no storage.")
        return cls

    def _viewed(self, machine: Machine, view: Any, elements: int) -> int:
        """Elements of (key, offset, elements), a part of a storage as torch 0.2 wrote it, or of all of it."""
        if view is None:
            return elements
        if (
            not isinstance(view, tuple)
            or len(view) != 3
            or not all(is_int(number) and number >= 0 for number in view[1:])
            or view[1] + view[2] > elements
        ):
            raise machine.refuse("torch-storage", "A part of a storage reaches beyond it.")
        return int(view[2])

    def bytes_of(self, key: str) -> int:
        """Bytes that the pickle claims for a storage."""
        cls, elements = self.claimed[key]
        return elements * ITEM_SIZES[cls]


def torch_zip(content: Content) -> Iterator[Finding]:
    """The zip container of torch 1.6 and later."""
    records = records_of(content)
    storages = Storages()
    yield from pickle_of(content, records, "data.pkl", storages)
    yield from check_records(content, records, {"data/": storages}, _SIDES)


def records_of(content: Content) -> dict[str, Member]:
    """Records by their names within the archive's one folder."""
    found = [member for member in checked_members(content) if not member.folder]
    tops = {member.name.partition("/")[0] for member in found}
    if content.read(content.size - 22, 4) != b"PK\x05\x06":
        raise refused("zip-hidden", "A comment follows its records, which torch never writes.")
    if len(tops) != 1:
        raise refused("torch-records", "A torch file has one folder of records; this has something beside it.")
    return {member.name.partition("/")[2]: member for member in found}


def pickle_of(content: Content, records: dict[str, Member], name: str, storages: Storages) -> Iterator[Finding]:
    """Walk one pickle among the records, to its last byte."""
    with opened(content, records[name], verified=False) as inner:  # first the names; `check_records` verifies it
        machine = Machine(inner.stream, inner.size, where=records[name].name)
        machine.persistent = storages.persistent
        yield from walked(machine)
        if inner.stream.tell() != inner.size:
            raise machine.refuse("pickle-trailing", "Bytes follow the pickle of the file, which nothing accounts for.")


def check_records(
    content: Content, records: dict[str, Member], storages: dict[str, Storages], sides: set[str]
) -> Iterator[Finding]:
    """Every storage is there at its full length, and there is nothing else."""
    for place, used in storages.items():
        for key in used.claimed:
            _check_storage(records, place + key, used.bytes_of(key))
    for name, member in records.items():
        folder = next((folder for folder in storages if name.startswith(folder)), None)
        if folder is not None and name.removeprefix(folder) in storages[folder].claimed:
            verify(content, member)
        elif name in sides:
            yield from _check_side(content, name, member)
        else:
            raise refused("torch-unused", "A record has no use: no torch file has more than its tensors.", member.name)


def _check_storage(records: dict[str, Member], name: str, claimed: int) -> None:
    member = records.get(name)
    if member is None:
        raise refused("torch-storage", f"The pickle refers to '{name}', which is not there.", advice="Fetch it again.")
    if member.method != STORED:
        raise refused("torch-compressed", "A tensor's record is compressed, which torch never writes.", member.name)
    if member.size != claimed:
        raise refused(
            "torch-storage", f"The pickle claims {claimed} bytes of a record that has {member.size}.", member.name
        )


def _check_side(content: Content, name: str, member: Member) -> Iterator[Finding]:
    """The small records beside the tensors: a version, an order of bytes, a digest."""
    if member.method != STORED:
        raise refused("torch-compressed", "A record is compressed, which torch never writes.", member.name)
    with opened(content, member) as inner:
        text = inner.read(0, 201).strip()
    if name != "data.pkl" and (len(text) > 200 or not text.isalnum()):
        raise refused("torch-records", "A record that should hold a word holds something else.", member.name)
    if name == "byteorder" and text not in (b"little", b"big"):
        raise refused("torch-records", "The order of bytes is neither little nor big.", member.name)
    yield from ()


def torch_legacy(content: Content) -> Iterator[Finding]:
    """A magic number, a version, the machine, the object and the names of its storages; then the storages."""
    content.stream.seek(0)
    storages = Storages()
    if _literal(content) != _MAGIC or _literal(content) != _PROTOCOL:
        raise refused("torch-legacy", "It begins like a torch file of before 1.6 and is none.")
    yield from walked(Machine(content.stream, content.size))
    machine = Machine(content.stream, content.size)
    machine.persistent = storages.persistent
    yield from walked(machine)
    keys = Machine(content.stream, content.size, kept=_MOST_STORAGES).run()
    if keys.__class__ is not Node or keys.kind != "list" or not keys.whole:
        raise refused("torch-legacy", "The names of its storages are no list.")
    if sorted(map(str, keys.items)) != sorted(storages.claimed):
        raise refused("torch-legacy", "It stores other tensors than its pickle refers to.")
    for key in keys.items:
        _pass_over(content, storages, key)
    if content.stream.tell() != content.size:
        place = content.stream.tell()
        raise refused("torch-trailing", f"{content.size - place} bytes follow its last tensor.", byte=place)


def _literal(content: Content) -> Any:
    return Machine(content.stream, content.size).run()


def _pass_over(content: Content, storages: Storages, key: str) -> None:
    """One storage: its length in elements, then its bytes."""
    place, (cls, elements) = content.stream.tell(), storages.claimed[key]
    head = content.stream.read(8)
    if len(head) != 8 or struct.unpack("<q", head) != (elements,):
        raise refused("torch-storage", f"Storage '{key}' has another length than the pickle claims.", byte=place)
    end = place + 8 + elements * ITEM_SIZES[cls]
    if end > content.size:
        raise refused("torch-storage", f"Storage '{key}' is cut short.", byte=place, advice="Fetch it again.")
    content.stream.seek(end)
