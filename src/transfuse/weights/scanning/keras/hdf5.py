"""HDF5: no link out of the file, no bombs, no filters from plug-ins; in Keras' files also the configuration.

Format: https://docs.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html. The tree is read by h5py without following
links; data themselves are not read. HDF5 itself crashes on some broken files (seen: 1 of 10,000 mutated ones, version
2.0), so this must run in the process of its own that a scan has, whose death is a rejection.
"""

import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.findings import Finding, refused
from transfuse.weights.scanning.inspecting import inspect
from transfuse.weights.scanning.keras.keras_configs import keras_config
from transfuse.weights.scanning.settings.documents import parsed

if TYPE_CHECKING:
    import h5py

_CONFIGS = ("model_config", "training_config")
_FILTERS = {1, 2, 3, 4, 5, 6, 32000}  # deflate, shuffle, Fletcher-32, szip, nbit, scale-offset, LZF: h5py's own
_MOST_OBJECTS = 200_000
_LARGEST_TEXT = 64 * 2**20
_SMALL = 64 * 2**20
_PIECE = 2**22
_HEAP = re.compile(rb"GCOL\x01\0\0\0")
_FETCH = "Fetch the file again."


def hdf5(content: Content) -> Iterator[Finding]:
    """The beginning of the file by hand, then its tree."""
    _check_superblock(content)
    _check_heaps(content)
    try:
        import h5py
    except ImportError:
        reason = "It cannot be judged without h5py."
        raise refused("hdf5-library", reason, advice="Run `pip install h5py` and scan it again.") from None
    content.stream.seek(0)
    with h5py.File(content.stream, "r") as file:
        yield from _walk(file, content)


def _check_superblock(content: Content) -> None:
    """The file must be as long as it says; https://... section II.A, versions 0 to 3."""
    head = content.read(0, 96)
    version = head[8] if len(head) > 48 else 255
    if version > 3:
        raise refused("hdf5-superblock", "It is broken: its first block is of no known version.", byte=8, advice=_FETCH)
    width = head[13] if version < 2 else head[9]
    start = (24 if version == 0 else 28) if version < 2 else 12
    if width not in (4, 8):
        raise refused("hdf5-superblock", f"It is broken: its offsets take {width} bytes.", byte=start, advice=_FETCH)
    base, _, end = (int.from_bytes(head[start + i * width :][:width], "little") for i in range(3))
    if base != 0 or end > content.size:
        reason = f"It is truncated: it says that it has {end:,} bytes; {content.size:,} are there."
        raise refused("hdf5-truncated", reason, byte=start, advice=_FETCH)


def _check_heaps(content: Content) -> None:
    """Texts of any length lie in global heaps (section III.E), in whose chains HDF5 2.0 loops when a size lies."""
    for start in range(0, content.size, _PIECE):
        piece = content.read(start, _PIECE + 8)
        for hit in _HEAP.finditer(piece):
            if hit.start() < _PIECE:
                _check_heap(content, start + hit.start())


def _check_heap(content: Content, start: int) -> None:
    """Objects of one heap follow each other to its end; the free space at the end has the number 0."""
    size = int.from_bytes(content.read(start + 8, 8), "little")
    data = content.read(start, min(size, _LARGEST_TEXT))
    place = 16
    while place + 16 <= len(data):
        number, length = (
            int.from_bytes(data[place : place + 2], "little"),
            int.from_bytes(data[place + 8 : place + 16], "little"),
        )
        step = length if number == 0 else 16 + -(-length // 8) * 8
        if step < 16 or place + step > size:
            raise refused(
                "hdf5-heap", "It is broken: a text's size in its heap is impossible.", byte=start + place, advice=_FETCH
            )
        place += step
    if size > content.size - start or size < 16 or len(data) < size:
        raise refused(
            "hdf5-heap", "It is broken: a heap of texts does not fit into the file.", byte=start, advice=_FETCH
        )


def _walk(file: "h5py.File", content: Content) -> Iterator[Finding]:
    import h5py

    waiting, seen = [file["/"]], set[Any]()
    while waiting:
        group = waiting.pop()
        yield from _attributes(group, content)
        for name in group:
            link = group.get(name, getlink=True)
            where = f"{group.name.rstrip('/')}/{name}"[-120:]
            if isinstance(link, h5py.ExternalLink):
                reason = f"'{where}' is a link into another file, '{str(link.filename)[:120]}'."
                yield Finding(verdict="reject", rule="hdf5-external", reason=reason, where=where)
                continue
            if not isinstance(link, h5py.HardLink):
                continue  # a soft link leads to a place in the same file, which is walked anyway
            item = group[name]
            mark = h5py.h5o.get_info(item.id).addr
            if mark in seen:
                continue
            seen.add(mark)
            if len(seen) > _MOST_OBJECTS:
                raise refused("hdf5-objects", f"It holds more than {_MOST_OBJECTS:,} objects.")
            if isinstance(item, h5py.Group):
                waiting.append(item)
            elif isinstance(item, h5py.Dataset):
                yield from _attributes(item, content)
                yield from _dataset(item, where)


def _dataset(item: "h5py.Dataset", where: str) -> Iterator[Finding]:
    if item.external:
        names = ", ".join(str(entry[0]) for entry in item.external)[:120]
        reason = f"The data of '{where}' lie in another file, '{names}'."
        yield Finding(verdict="reject", rule="hdf5-external", reason=reason, where=where)
        return
    if item.is_virtual:
        names = ", ".join(source.file_name for source in item.virtual_sources())[:120]
        reason = f"The data of '{where}' are put together from other files, '{names}'."
        yield Finding(verdict="reject", rule="hdf5-external", reason=reason, where=where)
        return
    plan = item.id.get_create_plist()
    filters = {plan.get_filter(index)[0] for index in range(plan.get_nfilters())}
    if filters - _FILTERS:
        reason = f"'{where}' is packed by filter {min(filters - _FILTERS)}, which a library from outside must unpack."
        advice = "Ask for the weights with gzip or no compression."
        yield Finding(verdict="reject", rule="hdf5-filter", reason=reason, where=where, advice=advice)
    claimed, there = _bytes(item), item.id.get_storage_size()
    if claimed > _SMALL and claimed > 200 * there:
        reason = f"'{where}' unpacks to {claimed:,} bytes; {there:,} are there."
        yield Finding(verdict="reject", rule="hdf5-bomb", reason=reason, where=where)


def _bytes(item: "h5py.Dataset") -> int:
    count = 1
    for side in item.shape or ():
        count *= side
    return count * int(item.id.get_type().get_size())


def _attributes(item: Any, content: Content) -> Iterator[Finding]:
    """Keras' configuration; and texts that are pickles, which PyTables opens without being asked."""
    for name in item.attrs:
        kind = item.attrs.get_id(name)
        short = kind.dtype.itemsize <= _LARGEST_TEXT
        if kind.shape != () or kind.dtype.kind not in "SO" or not short:
            if name in _CONFIGS:
                raise refused("hdf5-config", f"Its '{name}' is no single text.", where=name, advice=_FETCH)
            continue
        value = item.attrs[name]
        text = value.encode() if isinstance(value, str) else bytes(value) if isinstance(value, bytes) else b""
        if name in _CONFIGS:
            yield from keras_config(parsed(text), name)
        elif text[:1] in (b"\x80", b"(", b"c") and text.rstrip(b"\0")[-1:] == b".":
            stream = io.BytesIO(text.rstrip(b"\0"))
            yield from inspect(content.inside(name, stream, len(stream.getvalue())))
