"""Messages without a schema: every length is checked, and nothing is endless."""

import io

import pytest

from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.findings import Refused
from transfuse.weights.scanning.protobuf import wire


def message(data: bytes) -> wire.Message:
    return wire.message(Content(stream=io.BytesIO(data), size=len(data), name="m"))


def test_fields_come_with_their_types(made) -> None:
    data = made.part(1, 150) + made.part(2, "text") + b"\x1d\1\0\0\0" + b"\x21\2\0\0\0\0\0\0\0"
    fields = list(message(data).fields())
    assert [(number, kind) for number, kind, _ in fields] == [(1, 0), (2, 2), (3, 5), (4, 1)]
    assert fields[0][2] == 150 and fields[1][2].text() == "text" and fields[2][2] == 1 and fields[3][2] == 2
    assert wire.signed(2**64 - 1) == -1


@pytest.mark.parametrize(
    "data",
    [
        b"\x08",
        b"\x08" + b"\x80" * 11,
        b"\x12\x05abc",
        b"\x0b",
        b"\x00\x01",
        b"\x1d\1\0",
        b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",
    ],
)
def test_what_does_not_fit_is_refused(data: bytes) -> None:
    with pytest.raises(Refused, match="broken"):
        list(message(data).fields())


def test_messages_end_at_a_depth(made) -> None:
    data = b""
    for _ in range(200):
        data = made.part(1, data)
    inner = message(data)
    with pytest.raises(Refused, match="deep"):
        while True:
            ((_, _, inner),) = inner.fields()
