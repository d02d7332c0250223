"""NumPy's files: sizes as claimed, headers that are literals, objects asked about."""

import io
import pickle

import numpy as np
import pytest


def npy(array: np.ndarray, **options) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def headed(header: str, data: bytes = b"", version: int = 1) -> bytes:
    length = len(header).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + header.encode() + data


RECORD = [("name", "U5"), ("at", "<f4", (2,)), ("day", "M8[D]")]


KINDS = [*["?", "i1", "<i4", ">u8", "f2", "f8", "c16", "S7", "U3", "V4", "M8[ns]", "m8[h]"], RECORD]


@pytest.mark.parametrize("kind", KINDS)
def test_arrays_of_every_type_are_accepted(judged, kind):
    assert judged("a.npy", npy(np.zeros((3, 2), kind))).findings == ()
    assert judged("b.npy", npy(np.zeros((3, 2), kind, order="F"))).findings == ()


def test_archives_of_arrays_are_accepted(judged):
    for write in (np.savez, np.savez_compressed):
        stream = io.BytesIO()
        write(stream, a=np.arange(30), b=np.array(["x"]))
        assert judged("a.npz", stream.getvalue()).findings == ()


def test_objects_are_a_question_and_a_payload_in_them_is_refused(judged, marker):
    objects = npy(np.array([{"a": 1}, "x"], dtype=object), allow_pickle=True)
    assert judged("a.npy", objects).findings[0].rule == "numpy-objects"
    start = objects.index(b"\n") + 1
    payload = pickle.dumps([1], 4)[:2] + b"\x8c\x02os\x8c\x06system\x93(\x8c" + bytes([len(f"touch {marker}")])
    payload += f"touch {marker}".encode() + b"tR."
    finding = judged("b.npy", objects[:start] + payload).findings[0]
    assert finding.rule == "pickle-name" and "os.system" in finding.reason
    assert judged("c.npy", objects + b"x").verdict == "reject"


@pytest.mark.parametrize(
    "data",
    [
        headed("{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,)}", bytes(16)),
        headed("{'descr': '<f4', 'fortran_order': False, 'shape': (4,)}", bytes(15)),
        headed("{'descr': '<f4', 'fortran_order': False, 'shape': (4,)}", bytes(17)),
        headed("{'descr': '<f4', 'fortran_order': False, 'shape': (-4,)}", bytes(16)),
        headed("{'descr': '<f4', 'fortran_order': False, 'shape': (True,)}", bytes(4)),
        headed("{'descr': '<f4', 'fortran_order': 0, 'shape': (1,)}", bytes(4)),
        headed("{'descr': '<z4', 'fortran_order': False, 'shape': (1,)}", bytes(4)),
        headed("{'descr': '<f4', 'fortran_order': False, 'shape': (1,), 'more': 1}", bytes(4)),
        headed("__import__('os').system('true')"),
        headed("(" * 5000 + ")" * 5000),
        headed("-" * 60_000 + "1"),
        b"\x93NUMPY\x02\x00\xf0\xff\xff\xff{",
        b"\x93NUMPY\x09\x00",
        b"\x93NUMPY",
    ],
)
def test_headers_that_lie_or_are_none_are_refused(judged, data):
    judgement = judged("a.npy", data)
    assert judgement.verdict == "reject" and judgement.findings[0].rule in {"numpy-broken", "numpy-size"}


def test_versions_of_the_header(judged):
    header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,)}"
    for version in (1, 2, 3):
        assert judged("a.npy", headed(header, bytes(4), version)).findings == ()
