"""Compressed streams: what is inside is judged; bombs, tails and cuts are refused."""

import bz2
import gzip
import io
import lzma
import pickle
import zlib

import joblib
import pytest


def old_lzma(data: bytes) -> bytes:
    return lzma.compress(data, format=lzma.FORMAT_ALONE)


def old_joblib(data: bytes) -> bytes:
    return b"ZF" + hex(len(data)).encode().ljust(19) + zlib.compress(data)


PACKED = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress, ".lzma": old_lzma, ".z": zlib.compress}
PACKED[".pkl"] = old_joblib
PLAIN = pickle.dumps({"a": [1, 2.5, "x"]}, 4)


@pytest.mark.parametrize("suffix", PACKED)
def test_what_is_inside_is_judged(judged, marker, suffix):
    assert judged(f"w.pkl{suffix}", PACKED[suffix](PLAIN)).findings == ()
    payload = b"cos\nsystem\n(Vtouch " + str(marker).encode() + b"\ntR."
    finding = judged(f"x.pkl{suffix}", PACKED[suffix](payload)).findings[0]
    assert finding.rule == "pickle-name" and "os.system" in finding.reason


@pytest.mark.parametrize("suffix", PACKED)
def test_bombs_cuts_and_tails_are_refused(judged, suffix):
    packed = PACKED[suffix](PLAIN)
    zeros = judged(f"a.pkl{suffix}", PACKED[suffix](bytes(16 << 20)))
    assert zeros.verdict == "reject" and zeros.findings[0].rule == "archive-bomb"
    assert judged(f"b.pkl{suffix}", packed[:-9]).verdict == "reject"
    assert judged(f"c.pkl{suffix}", packed + b"hidden").verdict == "reject"


@pytest.mark.parametrize("method", ["zlib", "gzip", "bz2", "xz", "lzma"])
def test_joblib_s_files_are_read_whatever_their_name(judged, method):
    stream = io.BytesIO()
    joblib.dump({"a": [1, 2]}, stream, compress=(method, 3))
    for name in ("w.joblib", "w.pkl", "w"):
        assert judged(name, stream.getvalue()).findings == ()


def test_several_streams_after_each_other_are_one(judged):
    for pack in (gzip.compress, bz2.compress, lzma.compress):
        assert judged("w", pack(PLAIN[:20]) + pack(PLAIN[20:])).findings == ()
    assert judged("w.gz", gzip.compress(PLAIN) + bytes(40)).findings == ()


@pytest.mark.parametrize("head", [b"7z\xbc\xaf\x27\x1c", b"Rar!\x1a\x07", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18"])
def test_what_cannot_be_looked_into_is_refused_with_what_to_do(judged, head):
    finding = judged("w", head + bytes(60)).findings[0]
    assert finding.rule == "archive-closed" and "Unpack it" in finding.advice
