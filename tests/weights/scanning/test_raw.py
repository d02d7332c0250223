"""Flax, Core ML and OpenVINO: their own files, and raw numbers that a model beside them speaks for."""

import pytest

NET = '<net name="m"><layer id="0" type="Const" version="{}"><data offset="0" size="{}"/></layer></net>'


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x81",
        b"\x91\x91",
        b"\xc1",
        b"\xc6\xff\xff\xff\xff",
        b"\xdd\xff\xff\xff\xff",
        b"\xa1aPK\x03\x04",
        b"\xc7\x01\x63x",
    ],
)
def test_packed_weights_end_where_they_say(judged, made, data: bytes) -> None:
    assert judged("w.msgpack", made.msgpack()).verdict == "accept"
    assert judged("w.msgpack", data).verdict == "reject"
    assert judged("w.msgpack", b"\x91" * 200 + b"\xc0").verdict == "reject"


def test_parts_that_an_application_must_bring_are_asked_about(judged, made) -> None:
    custom = made.part(500, made.part(10, "MyLayer"))
    assert judged("m.mlmodel", made.coreml()).verdict == "accept"
    assert judged("m.mlmodel", made.coreml(custom)).findings[0].where == "MyLayer"
    inner = made.part(1, 1) + made.part(2, b"") + made.part(555, made.part(10, "Mine"))
    assert (
        judged("m.mlmodel", made.part(1, 1) + made.part(2, b"") + made.part(202, made.part(1, inner))).verdict == "ask"
    )


def test_numbers_are_accepted_only_beside_the_model_that_takes_them(judged, made) -> None:
    assert judged("m.bin", bytes(8)).verdict == "reject"
    assert judged("m.xml", NET.format("opset1", 8)).verdict == "accept"
    assert judged("m.bin", bytes(8)).verdict == "accept"
    judged("m.xml", NET.format("opset1", 9))
    assert judged("m.bin", bytes(8)).verdict == "reject"
    assert judged("p/weights/weight.bin", bytes(8)).verdict == "reject"
    judged("p/model.mlmodel", made.coreml())
    assert judged("p/weights/weight.bin", bytes(8)).verdict == "accept"


def test_tables_of_marks_hold_no_texts_that_unfold(judged) -> None:
    assert judged("m.xml", NET.format("extension", 8)).verdict == "ask"
    assert judged("m.xml", '<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>').verdict == "reject"
