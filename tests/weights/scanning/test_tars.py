"""Tars: plain files only, none that leads out, nothing behind, every member judged."""

import gzip
import io
import tarfile

import pytest


def tarred(members, form: int = tarfile.GNU_FORMAT) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=form) as archive:
        for name, data, kind, link in members:
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname, entry.size = kind, link, len(data)
            archive.addfile(entry, io.BytesIO(data))
    return stream.getvalue()


def plain(name: str, data: bytes = b"text\n"):
    return name, data, tarfile.REGTYPE, ""


def rule_of(judgement) -> str:
    assert judgement.verdict == "reject", judgement
    return judgement.findings[0].rule


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_ordinary_archives_are_accepted(judged, form):
    long = "./" + ("n" * 60 + "/") * (2 if form == tarfile.USTAR_FORMAT else 5) + "x.txt"
    data = tarred([("./", b"", tarfile.DIRTYPE, ""), plain("./a.txt"), plain(long), plain("./empty", b"")], form)
    assert judged("a.tar", data).findings == ()
    assert judged("a.tar.gz", gzip.compress(data)).findings == ()


def test_a_payload_inside_is_refused_by_name(judged, marker):
    payload = b"cos\nsystem\n(Vtouch " + str(marker).encode() + b"\ntR."
    data = gzip.compress(tarred([plain("ok.txt"), plain("weights.txt", payload)]))
    finding = judged("a.tar.gz", data).findings[0]
    assert finding.rule == "pickle-name" and "os.system" in finding.reason


@pytest.mark.parametrize("name", ["../x", "/x", "a/../../x"])
def test_names_that_lead_out_are_refused(judged, name):
    assert rule_of(judged("a.tar", tarred([plain("ok"), plain(name)]))) == "archive-slip"


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_are_refused(judged, kind):
    assert rule_of(judged("a.tar", tarred([plain("ok"), ("d", b"", kind, "/tmp")]))) == "archive-link"


def test_two_of_one_name_a_tail_and_a_cut_are_refused(judged):
    assert rule_of(judged("a.tar", tarred([plain("a"), plain("a")]))) == "archive-twice"
    assert rule_of(judged("b.tar", tarred([plain("a")]) + b"hidden")) == "archive-tail"
    assert rule_of(judged("c.tar", tarred([plain("a", bytes(3000))])[:1500])) == "tar-broken"


def test_what_a_configuration_calls_is_looked_at(judged):
    for target, verdict in (("os.system", "reject"), ("nemo.collections.asr.models.EncDecCTCModel", "ask")):
        data = tarred([plain("model_config.yaml", f"_target_: {target}\nx: 1\n".encode())])
        assert judged("a.nemo", data).verdict == verdict
