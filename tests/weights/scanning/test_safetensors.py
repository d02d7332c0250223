"""Safetensors: headers with two meanings, bytes that belong to nobody, weights that are no numbers."""

import json
import math
import struct

import pytest

from transfuse.core.errors import UnsafeFile
from transfuse.weights.headers import read_header


def tensor(dtype="F32", shape=(2,), offsets=(0, 8)):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def raw(header: bytes, data: bytes = bytes(8), length: int | None = None) -> bytes:
    return struct.pack("<Q", len(header) if length is None else length) + header + data


def file(header, data=bytes(8)) -> bytes:
    return raw(json.dumps(header).encode(), data)


BROKEN = {
    "safetensors-length": [
        raw(b"{}", b"", 2**63),
        raw(b"{}", b"", 1000),
        raw(b"{}", b"", 150_000_000),
        b"\x08\0\0\0\0\0\0",
    ],
    "safetensors-header": [
        raw(b"{not json}"),
        raw(b'{"\xff":1}'),
        raw(b' {"a":1}'),
        raw(b'{"__metadata__":' + b"[" * 200_000 + b"]" * 200_000 + b"}", b""),
        raw(b'{"a":NaN}'),
        raw(b'{"a":' + b"9" * 5000 + b"}"),
        raw(b"{}{}", b""),
    ],
    "safetensors-twice": [
        raw(
            b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"I32","shape":[2],"data_offsets":[0,8]}}'
        ),
        raw(b'{"a":{"dtype":"F32","shape":[2],"shape":[1,2],"data_offsets":[0,8]}}'),
        raw(
            b'{"\\u0061":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
        ),
    ],
    "safetensors-metadata": [
        file({"__metadata__": {"a": 1}, "a": tensor()}),
        file({"__metadata__": [], "a": tensor()}),
    ],
    "safetensors-name": [
        file({"a\nb": tensor()}),
        raw(b'{"\\ud800":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'),
    ],
    "safetensors-tensor": [
        file({"a": tensor("F13")}),
        file({"a": tensor("F64")}),
        file({"a": tensor(["F32"])}),
        file({"a": tensor(shape=(-2,))}),
        file({"a": tensor(shape=(2.0,))}),
        file({"a": tensor(shape=(True, 2))}),
        file({"a": tensor(shape=(2**33, 2**33, 2**33))}),
        file({"a": tensor(shape=(2**62,) * 60)}),
        file({"a": tensor(offsets=(8, 0))}),
        file({"a": tensor(offsets=(-8, 0))}),
        file({"a": tensor(offsets=(0, 8, 8))}),
        file({"a": {**tensor(), "more": 1}}),
        file({"a": []}),
    ],
    "safetensors-overlap": [
        file({"a": tensor(), "b": tensor()}),
        file({"a": tensor(), "b": tensor(offsets=(4, 12))}, bytes(12)),
    ],
    "safetensors-hole": [
        file({"a": tensor(), "b": tensor(offsets=(16, 24))}, bytes(24)),
        file({"a": tensor(offsets=(8, 16))}, bytes(16)),
    ],
    "safetensors-truncated": [file({"a": tensor()}, bytes(5))],
    "safetensors-tail": [file({"a": tensor()}, bytes(8) + b"PK\x03\x04"), file({}, b"hidden")],
}


@pytest.mark.parametrize("rule, data", [(rule, data) for rule, cases in BROKEN.items() for data in cases])
def test_broken_headers_are_refused_for_their_reason(judged, rule: str, data: bytes) -> None:
    judgement = judged("w.safetensors", data)
    assert judgement.verdict == "reject"
    assert [finding.rule for finding in judgement.findings] == [rule]


def test_the_reader_of_headers_refuses_what_a_scan_refuses(tmp_path) -> None:
    path = tmp_path / "w.safetensors"
    path.write_bytes(BROKEN["safetensors-hole"][0])
    with pytest.raises(UnsafeFile, match="belong to none"):
        read_header(path)


@pytest.mark.parametrize(
    "dtype, how, bits",
    [("F32", "<f", 32), ("F64", "<d", 64), ("F16", "<e", 16), ("C64", "<ff", 64), ("BF16", "<H", 16)],
)
@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_weights_that_are_no_numbers_are_found_at_their_byte(
    judged, dtype: str, how: str, bits: int, bad: float
) -> None:
    size = bits // 8
    if dtype == "BF16":
        good, wrong = struct.pack(how, 0x3F80), struct.pack("<f", bad)[2:]
    elif dtype == "C64":
        good, wrong = struct.pack(how, 1, 2), struct.pack(how, 1, bad)
    else:
        good, wrong = struct.pack(how, 1.0), struct.pack(how, bad)
    data = good * 7 + wrong + good
    header = {"w": tensor(dtype, (9,), (0, 9 * size))}
    judgement = judged("w.safetensors", file(header, data))
    if bad == -math.inf:  # what masks are made of
        assert judgement.verdict == "accept"
        return
    (finding,) = judgement.findings
    assert finding.rule == "safetensors-nan" and finding.where == "w"
    assert finding.byte == 8 + len(json.dumps(header)) + 7 * size + (4 if dtype == "C64" else 0)


def test_whole_numbers_and_small_types_may_hold_any_bits(judged) -> None:
    header = {
        "empty": tensor(shape=(0, 4), offsets=(0, 0)),
        "scalar": tensor("I64", (), (0, 8)),
        "half": tensor("F4", (4,), (8, 10)),
        "six": tensor("F6_E2M3", (4,), (10, 13)),
        "eight": tensor("F8_E4M3", (3,), (13, 16)),
    }
    assert judged("w.safetensors", file(header, b"\xff" * 16)).verdict == "accept"
