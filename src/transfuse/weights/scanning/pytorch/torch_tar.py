"""What `torch.save` wrote in 2017: a tar of pickles, tensors and storages, for which there is no safe loader.

Format: `_load` of `torch/serialization.py`, `legacy_load`.
"""

import struct
from collections.abc import Iterator, Mapping
from typing import Any

from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.findings import Finding, refused
from transfuse.weights.scanning.pickled.machine import Machine
from transfuse.weights.scanning.pickled.names import ITEM_SIZES
from transfuse.weights.scanning.pickled.pickles import walked
from transfuse.weights.scanning.pickled.values import Node, Symbol, is_int

MEMBERS = frozenset({"sys_info", "pickle", "storages", "tensors"})
_DIMENSIONS = 64


def torch_tar(members: Mapping[str, Content]) -> Iterator[Finding]:
    """The four members, each pickle in them walked."""
    for name in ("sys_info", "pickle"):
        content = members[name]
        yield from walked(_machine(content, name))
        _check_end(content, name)
    _storages(members["storages"])
    _tensors(members["tensors"])
    yield Finding(
        verdict="ask",
        rule="torch-tar",
        reason="It is a torch file of 2017, which torch opens only without its restrictions.",
        advice="Ask for the same weights as safetensors.",
    )


def _machine(content: Content, name: str) -> Machine:
    machine = Machine(content.stream, content.size, where=name)
    machine.persistent = _tensor
    return machine


def _tensor(machine: Machine, identifier: Any) -> Node:
    if not is_int(identifier) and not isinstance(identifier, str):
        raise machine.refuse("torch-storage", "It refers to something outside that is no tensor.")
    return machine.node("tensor")


def _check_end(content: Content, name: str) -> None:
    if content.stream.tell() != content.size:
        raise refused("torch-trailing", "Bytes follow what the file needs.", name, content.stream.tell())


def _value(content: Content, name: str) -> Any:
    return _machine(content, name).run()


def _count(content: Content, name: str) -> int:
    count = _value(content, name)
    if not is_int(count) or not 0 <= count <= content.size:
        raise refused("torch-tar", "The number of its members is none.", name)
    return int(count)


def _numbers(content: Content, shape: str, name: str) -> tuple[int, ...]:
    data = content.stream.read(struct.calcsize(shape))
    if len(data) != struct.calcsize(shape):
        raise refused("torch-tar", "It is cut short.", name, advice="Fetch it again.")
    return struct.unpack(shape, data)


def _described(content: Content, name: str) -> Symbol:
    """The last entry of the three that describe a storage or a tensor: its class."""
    described = _value(content, name)
    if not isinstance(described, tuple) or len(described) != 3 or not isinstance(described[2], Symbol):
        raise refused("torch-tar", "A storage or a tensor is described as none.", name)
    return described[2]


def _storages(content: Content) -> None:
    for _ in range(_count(content, "storages")):
        cls = _described(content, "storages")
        (elements,) = _numbers(content, "<q", "storages")
        end = content.stream.tell() + elements * ITEM_SIZES.get(cls.name, 1)
        if elements < 0 or end > content.size:
            raise refused("torch-storage", "A storage claims more than there is.", "storages")
        content.stream.seek(end)
    _value(content, "storages")
    _check_end(content, "storages")


def _tensors(content: Content) -> None:
    for _ in range(_count(content, "tensors")):
        _described(content, "tensors")
        (dimensions,) = _numbers(content, "<i4x", "tensors")
        if not 0 <= dimensions <= _DIMENSIONS:
            raise refused("torch-tar", "A tensor has no shape.", "tensors")
        _numbers(content, f"<{2 * dimensions + 1}q", "tensors")
    _check_end(content, "tensors")
