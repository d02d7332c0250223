"""GGUF: counts that no file can hold are refused at once, tensors have their place, templates are judged."""

import struct
import time

import pytest

HUGE = 2**63


def head(tensors: int, pairs: int, rest: bytes = bytes(32), version: int = 3) -> bytes:
    return b"GGUF" + struct.pack("<IQQ", version, tensors, pairs) + rest


def test_lengths_are_held_against_the_bytes_that_are_left(judged, made) -> None:
    cases = [
        head(0, HUGE),
        head(HUGE, 0),
        head(0, 1, struct.pack("<Q", HUGE) + bytes(20)),
        head(0, 1, made.gguf_text("a") + struct.pack("<IIQ", 9, 0, 2**40)),  # gguf 0.19 loops here
        head(0, 1, made.gguf_text("a") + struct.pack("<IIQ", 9, 8, 2**40)),
        head(0, 1, made.gguf_text("a") + struct.pack("<IIQ", 9, 9, 2**40)),
        head(0, 1, made.gguf_pair("a", 8, struct.pack("<Q", 2**50))),
    ]
    began = time.process_time()
    for case in cases:
        assert judged("m.gguf", case).findings[0].rule == "gguf-length"
    assert time.process_time() - began < 5


def test_tables_tell_everything_once_and_in_known_types(judged, made) -> None:
    pair = made.gguf_pair("a", 4, bytes(4))
    assert judged("m.gguf", made.gguf_file([pair, pair])).findings[0].rule == "gguf-twice"
    twice = [made.gguf_tensor("t", (8,), offset=32 * i) for i in range(2)]
    assert judged("m.gguf", made.gguf_file([], twice, bytes(64))).findings[0].rule == "gguf-twice"
    assert judged("m.gguf", made.gguf_file([made.gguf_pair("a", 77, bytes(40))])).findings[0].rule == "gguf-type"
    assert judged("m.gguf", head(0, 0, version=1)).findings[0].rule == "gguf-version"
    assert judged("m.gguf", head(0, 0, version=3 << 24)).findings[0].rule == "gguf-version"
    for number in (0, 3, 2**31):
        pair = made.gguf_pair("general.alignment", 4, struct.pack("<I", number))
        assert judged("m.gguf", made.gguf_file([pair])).findings[0].rule == "gguf-alignment"
    nested = struct.pack("<IQ", 9, 1) * 5 + struct.pack("<IQ", 0, 1) + bytes(40)
    assert judged("m.gguf", made.gguf_file([made.gguf_pair("a", 9, nested)])).findings[0].rule == "gguf-type"


@pytest.mark.parametrize(
    "shape, kind, offset, why",
    [
        ((2**33, 2**33), 0, 0, "impossible shape"),
        ((8,), 9999, 0, "unknown type"),
        ((33,), 2, 0, "impossible shape"),
        ((8,), 0, 2**40, "ends at byte"),
        ((8,), 0, 8, "no multiple"),
        ((1,) * 9, 0, 0, "9 dimensions"),
        ((1000,), 0, 0, "ends at byte"),
    ],
)
def test_tensors_have_a_possible_place(judged, made, shape, kind: int, offset: int, why: str) -> None:
    judgement = judged("m.gguf", made.gguf_file([], [made.gguf_tensor("t", shape, kind, offset)], bytes(64)))
    assert why in judgement.findings[0].reason


def test_no_bytes_are_shared_or_left_over(judged, made) -> None:
    both = [made.gguf_tensor(name, (16,)) for name in "ab"]
    assert "overlaps" in judged("m.gguf", made.gguf_file([], both, bytes(64))).findings[0].reason
    apart = [made.gguf_tensor("a", (8,)), made.gguf_tensor("b", (8,), offset=96)]
    assert "belong to none" in judged("m.gguf", made.gguf_file([], apart, bytes(128))).findings[0].reason
    one = [made.gguf_tensor("a", (8,))]
    assert judged("m.gguf", made.gguf_file([], one, bytes(32))).verdict == "accept"
    assert judged("m.gguf", made.gguf_file([], one, bytes(32 + 64))).findings[0].rule == "gguf-tail"


def test_chat_templates_are_judged(judged, made) -> None:
    evil = "{{ cycler.__init__.__globals__.os.popen('id').read() }}"
    pair = made.gguf_pair("tokenizer.chat_template.tool_use", 8, made.gguf_text(evil))
    assert judged("m.gguf", made.gguf_file([pair])).findings[0].where == "tokenizer.chat_template.tool_use"
