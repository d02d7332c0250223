"""Zips: one story whoever reads them, nothing that leads out, no bombs, and every member judged."""

import io
import pickle
import struct
import zipfile

import pytest

PLAIN = {"a/b.txt": b"text\n" * 9, "w.pkl": pickle.dumps([1], 4), "empty": b""}


def zipped(members=PLAIN, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in members.items() if isinstance(members, dict) else members:
            archive.writestr(name, data)
    return stream.getvalue()


def rule_of(judgement) -> str:
    assert judgement.verdict == "reject", judgement
    return judgement.findings[0].rule


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2])
def test_ordinary_archives_are_accepted(judged, method):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        archive.mkdir("folder")
        archive.writestr("folder/ünïcode.txt", b"text")
        with archive.open("large", "w", force_zip64=True) as member:
            member.write(b"text")
        archive.comment = b"a comment"
    assert judged("a.zip", stream.getvalue()).findings == ()
    assert judged("b.zip", zipped(method=method)).findings == ()


def test_archives_that_were_written_to_a_pipe_are_accepted(judged):
    """Sizes and checksum follow the member."""

    class Pipe(io.RawIOBase):
        def __init__(self) -> None:
            self.data = b""

        def writable(self) -> bool:
            return True

        def write(self, data) -> int:
            self.data += bytes(data)
            return len(data)

    pipe = Pipe()
    with zipfile.ZipFile(pipe, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in PLAIN.items():
            archive.writestr(name, data)
    assert judged("a.zip", pipe.data).findings == ()


@pytest.mark.parametrize("name", ["weights.txt", "deep/er/a.pkl", "no_extension"])
def test_a_payload_is_found_whatever_its_member_is_called(judged, marker, name):
    payload = b"cos\nsystem\n(Vtouch " + str(marker).encode() + b"\ntR."
    inner = zipped({name: payload})
    for data in (inner, zipped({"a.zip": zipped({"b.zip": inner}, zipfile.ZIP_STORED)})):
        finding = judged("a.zip", data).findings[0]
        assert finding.rule == "pickle-name" and "os.system" in finding.reason


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x", "a\\..\\x", "C:x", "a\nb"])
def test_names_that_lead_out_are_refused(judged, name):
    assert rule_of(judged("a.zip", zipped({"ok": b"x", name: b"x"}))) == "archive-slip"


def test_links_and_devices_are_refused(judged):
    for mode in (0o120777, 0o020666, 0o010666):
        entry = zipfile.ZipInfo("link")
        entry.external_attr = mode << 16
        assert rule_of(judged("a.zip", zipped([(entry, b"/etc/passwd")]))) == "archive-link"


def test_two_members_of_one_name_are_refused(judged):
    assert rule_of(judged("a.zip", zipped([("a", b"1"), ("A", b"2")]))) == "archive-twice"
    with pytest.warns(UserWarning, match="Duplicate"):
        data = zipped([("a", b"1"), ("a", b"2")])
    assert rule_of(judged("b.zip", data)) == "archive-twice"


def test_bombs_are_stopped_early(judged):
    zeros = {f"{number}.bin": bytes(8 << 20) for number in range(2)}
    assert rule_of(judged("a.zip", zipped(zeros))) == "archive-bomb"
    assert rule_of(judged("b.zip", zipped({"n.zip": zipped(zeros)}, zipfile.ZIP_STORED))) == "archive-bomb"


def test_archives_do_not_lie_deep_in_each_other(judged):
    data = zipped({"x.txt": b"text"})
    for level in range(4):
        assert judged("a.zip", data).verdict == "accept", level
        data = zipped({"x.zip": data})
    assert rule_of(judged("a.zip", data)) == "archive-depth"


def central(data: bytes, offset: int) -> int:
    """Where a field of the first entry of the directory lies."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return archive.start_dir + offset


def patched(data: bytes, place: int, value: bytes) -> bytes:
    return data[:place] + value + data[place + len(value) :]


STORIES = {
    "a name in the header": lambda d: patched(d, 30, b"x"),
    "a method in the header": lambda d: patched(d, 8, b"\0\0"),
    "a checksum in the header": lambda d: patched(d, 14, b"abcd"),
    "a size in the directory": lambda d: patched(d, central(d, 24), struct.pack("<I", 7)),
    "flags in the header": lambda d: patched(d, 6, b"\x02\0"),
}


@pytest.mark.parametrize("story", STORIES)
def test_two_stories_about_a_member_are_refused(judged, story):
    assert rule_of(judged("a.zip", STORIES[story](zipped()))) == "zip-two-stories"


def test_encrypted_and_patched_members_are_refused(judged):
    for flag, rule in ((1, "archive-encrypted"), (0x20, "zip-flags"), (0x40, "archive-encrypted")):
        data = zipped()
        data = patched(patched(data, 6, bytes([flag, 0])), central(data, 8), bytes([flag, 0]))
        assert rule_of(judged("a.zip", data)) == rule


def test_methods_that_are_not_known_are_refused(judged):
    assert rule_of(judged("a.zip", zipped(method=zipfile.ZIP_LZMA))) == "archive-method"


def test_bytes_before_between_and_behind_are_refused(judged):
    data = zipped()
    assert rule_of(judged("a.zip", data + b"hidden")) == "zip-hidden"
    assert rule_of(judged("b.zip", b"PK\x03\x04" + bytes(60) + data)) == "zip-hidden"
    start = central(data, 0)
    between = data[:start] + b"hidden" + data[start:-6] + struct.pack("<I", start + 6) + data[-2:]
    with zipfile.ZipFile(io.BytesIO(between)) as archive:
        assert archive.testzip() is None  # which sees nothing
    assert rule_of(judged("c.zip", between)) == "zip-hidden"


def test_members_that_overlap_are_refused(judged):
    """One kernel of bytes under many names: 42 kB that unpack to terabytes."""
    data = zipped({"a": b"x" * 900})
    start = central(data, 0)
    entry = data[start : start + 46] + b"b" + data[start + 47 : -22]
    end = data[-22:-14] + struct.pack("<HHIIH", 2, 2, len(data) - 22 - start + len(entry), start, 0)
    both = data[:-22] + entry + end
    with zipfile.ZipFile(io.BytesIO(both)) as archive:
        assert archive.namelist() == ["a", "b"]
    assert rule_of(judged("a.zip", both)) == "zip-hidden"


def test_a_checksum_is_verified(judged):
    data = zipped({"a": b"stored text"}, zipfile.ZIP_STORED)
    assert rule_of(judged("a.zip", data.replace(b"stored", b"staged"))) == "checksum"


def test_a_cut_archive_and_one_without_members(judged):
    assert rule_of(judged("a.zip", zipped()[:-30])) == "zip-broken"
    assert judged("b.zip", zipped({})).verdict == "accept"
    assert rule_of(judged("c.zip", b"PK\x03\x04" + bytes(300))) == "zip-broken"


def test_a_directory_of_4_gib_and_more_is_read_where_it_says(judged):
    data = zipped({"a": b"text"})
    count, length, start = struct.unpack("<HII", data[-12:-2])
    large = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count, count, length, start)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(data) - 22, 1)
    end = b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    assert judged("a.zip", data[:-22] + large + locator + end).verdict == "accept"
    lie = b"PK\x05\x06" + struct.pack("<4H2LH", 0, 0, 2, 2, 0xFFFFFFFF, 0xFFFFFFFF, 0)
    assert rule_of(judged("b.zip", data[:-22] + large + locator + lie)) == "zip-hidden"
