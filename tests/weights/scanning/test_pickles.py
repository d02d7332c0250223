"""Pickles: hostile ones are refused for what they would do, ordinary ones pass, nothing runs."""

import argparse
import collections
import io
import os
import pickle
import struct
import time
import tracemalloc
from pathlib import Path

import joblib
import numpy as np
import pytest

from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.findings import worst
from transfuse.weights.scanning.inspecting import inspect


class Payload:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return os.system, (f"touch '{self.marker}'",)


def text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


def name(module: str, attribute: str) -> bytes:
    return text(module) + text(attribute) + b"\x93"


def call(function: bytes, *arguments: bytes) -> bytes:
    return function + b"(" + b"".join(arguments) + b"tR"


def run(marker: Path) -> bytes:
    return call(name("os", "system"), text(f"touch {marker}"))


NAMESPACE = name("types", "SimpleNamespace")


def rule_of(judgement) -> str:
    assert judgement.verdict == "reject", judgement
    return judgement.findings[0].rule


@pytest.mark.parametrize("protocol", range(6))
def test_a_payload_is_refused_by_its_name_and_place(judged, marker, protocol):
    data = pickle.dumps({"weights": [1.0], "x": Payload(marker)}, protocol)
    finding = judged("w.pkl", data).findings[0]
    assert finding.rule == "pickle-name" and "posix.system" in finding.reason
    assert data[finding.byte : finding.byte + 1] in (b"c", b"\x93")


@pytest.mark.parametrize(
    "module_and_name",
    [
        ("builtins", "eval"),
        ("builtins", "getattr"),
        ("functools", "partial"),
        ("torch", "os.system"),
        ("torch", "load"),
        ("torch.storage", "_load_from_bytes"),
        ("collections", "OrderedDict.fromkeys"),
        ("sklearn.datasets._base", "Path"),
        ("sklearn.utils", "Parallel"),
        ("torch.nn.modules.module", "os"),
        ("numpy", "load"),
        ("joblib", "load"),
        ("copyreg", "add_extension"),
        ("codecs", "decode"),
        ("joblib.numpy_pickle", "NDArrayWrapper"),
        ("types", "FunctionType"),
    ],
)
def test_names_outside_the_lists_are_refused(judged, module_and_name):
    finding = judged("w.pkl", b"\x80\x04" + name(*module_and_name) + b".").findings[0]
    assert finding.rule == "pickle-name" and ".".join(module_and_name) in finding.reason


HOSTILE = {
    "memo": lambda m: text("os") + b"q\x050" + text("system") + b"q\x060h\x05h\x06\x93(" + text(f"touch {m}") + b"tR.",
    "memo overwritten": lambda m: (
        text("collections") + b"q\x050" + text("os") + b"q\x050" + text("x") + b"0h\x05" + text("system") + b"\x93."
    ),
    "python 2 text": lambda m: b"U\x02osU\x06system\x93(" + text(f"touch {m}") + b"tR.",
    "then broken": lambda m: run(m) + b"\x8c\xffcut",
    "then no instruction": lambda m: run(m) + b"\xff\x00",
    "popped": lambda m: run(m) + b"0" + call(name("collections", "OrderedDict")) + b".",
    "marks before": lambda m: b"(((111" + run(m) + b".",
    "in a state": lambda m: NAMESPACE + b")\x81}(" + text("__setstate__") + name("os", "system") + b"ub.",
    "by instance": lambda m: b"(" + text(f"touch {m}") + b"ios\nsystem\n.",
    "by object": lambda m: b"(cos\nsystem\n" + text(f"touch {m}") + b"o.",
    "factory": lambda m: call(name("collections", "defaultdict"), name("os", "system")) + b".",
    "second pickle": lambda m: b"}.\x80\x04" + run(m) + b".",
}


@pytest.mark.parametrize("trick", HOSTILE)
def test_tricks_do_not_hide_a_name(judged, marker, trick):
    judgement = judged("w.pkl", b"\x80\x04" + HOSTILE[trick](marker))
    assert judgement.verdict == "reject"
    assert any(finding.rule == "pickle-name" and "os.system" in finding.reason for finding in judgement.findings)


REFUSED = {
    "pickle-planted": name("argparse", "Namespace")
    + b")\x81}("
    + text("__setstate__")
    + name("builtins", "list")
    + b"ub.",
    "pickle-extension": b"\x82\x01.",
    "pickle-stuck": call(text("os"), text("x")) + b".",
    "pickle-computed-name": text("os") + b"N\x93.",
    "pickle-memo": b"Nr\x00\x00\x00\x04.",
    "pickle-length": b"\x8e" + struct.pack("<Q", 2**40) + b"x.",
    "pickle-persistent": text("key") + b"Q.",
    "pickle-buffer": b"\x97.",
    "pickle-instruction": b"N2.",
    "pickle-trailing": b"}.hidden",
    "pickle-target": b"]K\x00K\x01s.",
    "pickle-order": b"}q\x000h\x00K\x00K\x01s.",
    "pickle-call": name("numpy", "ndarray") + b"K\x05\x85R.",
    "pickle-depth": b"]" * 3000 + b"a" * 2999 + b".",
    "pickle-broken": b"(K\x01.\xff"[:2],
}


@pytest.mark.parametrize("rule", REFUSED)
def test_what_no_pickler_writes_is_refused(judged, rule):
    assert rule_of(judged("w.pkl", b"\x80\x04" + REFUSED[rule])) == rule


@pytest.mark.parametrize(
    "function",
    [
        (("builtins", "bytearray"), b"J\x00\x00\x00\x7f"),
        (("builtins", "bytes"), b"J\x00\x00\x00\x7f"),
        (("_codecs", "encode"), text("a") + text("rot13")),
        (("collections", "defaultdict"), text("x")),
        (("torch._utils", "_rebuild_tensor_v2"), b"N"),
        (("numpy._core.multiarray", "_reconstruct"), name("numpy", "ndarray") + b"J\x00\x00\x00\x7f\x85C\x01b"),
        (("numpy", "dtype"), text("f99")),
        (("numpy._core.multiarray", "scalar"), text("f8") + b"C\x01b"),
        (("copyreg", "_reconstructor"), name("numpy", "ndarray") + name("builtins", "object") + b"N"),
    ],
)
def test_arguments_that_no_pickler_writes_are_refused(judged, function):
    data = b"\x80\x04" + call(name(*function[0]), function[1]) + b"."
    assert rule_of(judged("w.pkl", data)) == "pickle-arguments"


def dtype_state(code: str, flags: int, size: bytes = b"J\xff\xff\xff\xff", names: bytes = b"NN") -> bytes:
    make = call(name("numpy", "dtype"), text(code), b"\x89", b"\x88")
    return make + b"(K\x03" + text("|") + b"N" + names + size + b"J\xff\xff\xff\xff" + bytes([75, flags]) + b"tb"


def test_a_type_of_objects_that_denies_it_would_take_bytes_for_pointers(judged):
    assert judged("w.pkl", b"\x80\x04" + dtype_state("O8", 63) + b".").verdict == "accept"
    assert rule_of(judged("w.pkl", b"\x80\x04" + dtype_state("O8", 0) + b".")) == "pickle-arguments"
    assert rule_of(judged("w.pkl", b"\x80\x04" + dtype_state("f8", 63) + b".")) == "pickle-arguments"


def test_a_field_may_not_reach_past_its_record(judged):
    def record(offset: int) -> bytes:
        fields = text("a") + b"\x85}" + text("a") + dtype_state("f4", 0) + bytes([75, offset]) + b"\x86s"
        return b"\x80\x04" + dtype_state("V8", 16, b"K\x08", fields) + b"."

    assert judged("w.pkl", record(4)).verdict == "accept"
    assert rule_of(judged("w.pkl", record(5))) == "pickle-arguments"


def test_a_type_does_not_change_under_the_arrays_made_of_it(judged):
    array = call(name("numpy._core.multiarray", "_reconstruct"), name("numpy", "ndarray"), b"K\x00\x85", b"C\x01b")
    once = b"\x80\x04" + array + b"(K\x01K\x01\x85" + dtype_state("u1", 0) + b"q\x09\x89C\x01ztb"
    assert judged("w.pkl", once + b".").verdict == "accept"
    twice = once + b"h\x09(K\x03" + text("|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x86."
    assert rule_of(judged("w.pkl", twice)) == "pickle-order"


def test_shared_references_that_never_end_are_refused(judged):
    body = b"](" + text("lol") + b"e" + b"q\x00"
    for level in range(1, 12):
        body += b"0](" + (b"h" + bytes([level - 1])) * 10 + b"eq" + bytes([level])
    assert rule_of(judged("w.pkl", b"\x80\x04" + body + b".")) == "pickle-expansion"


def test_lists_filled_from_the_outside_in_are_followed_too(judged):
    """Every list is put into its parent while it is still empty."""
    body = b"".join(b"]q" + bytes([level]) for level in reversed(range(12)))
    for level in range(11):
        body += b"(" + (b"h" + bytes([level + 1])) * 10 + b"e" + b"0"
    body += b"(" + (text("lol")) * 10 + b"e"
    body = body.replace(b"e0", b"e0", 1)
    verdict = judged("w.pkl", b"\x80\x04" + body + b"0h\x00.").verdict
    assert verdict == "reject"


@pytest.mark.parametrize("protocol", range(6))
def test_plain_values_are_accepted(judged, protocol):
    cyclic: list = [1]
    cyclic.append((cyclic, {"self": cyclic}))
    shared = list(range(3))
    value = [
        {"a": [1, 2.0, "os.system", b"x", None, True], "t": (1, {2}), "big": 10**60, "__class__": "é" * 300},
        [frozenset({1}), bytearray(b"abc"), 1 + 2j, range(3), b"", bytes(300)],
        [collections.OrderedDict(a=1), collections.defaultdict(list, a=[1]), collections.Counter("aab")],
        cyclic,
        [shared] * 2000,
        list(range(3000)),
    ]
    assert judged("w.pkl", pickle.dumps(value, protocol)).findings == ()


@pytest.mark.parametrize("protocol", range(6))
def test_arrays_are_accepted(judged, protocol):
    record = np.zeros(2, [("name", "U5"), ("at", "<f4", (2,)), ("day", "M8[D]")])
    value = [np.ones((2, 3)), np.float32(1), np.array(["a", None], dtype=object), record, np.arange(3, dtype=">i2")]
    assert judged("w.pkl", pickle.dumps(value, protocol)).findings == ()


@pytest.mark.parametrize("protocol", range(6))
def test_code_of_known_libraries_is_a_question(judged, protocol):
    judgement = judged("w.pkl", pickle.dumps({"args": argparse.Namespace(lr=0.1), "at": Path("x")}, protocol))
    assert judgement.verdict == "ask" and "argparse.Namespace" in judgement.findings[0].reason


def test_pickles_of_python_2_are_read(judged):
    assert judged("w.pkl", b"(dp0\nS'weights'\np1\n(lp2\nF1.5\naI3\naL4L\nas.").verdict == "accept"


@pytest.mark.parametrize("compression", [0, 3])
def test_arrays_between_the_instructions_are_passed_over(judged, compression):
    stream = io.BytesIO()
    joblib.dump({"x": np.arange(40.0), "o": np.array([None, "a"], dtype=object)}, stream, compress=compression)
    judgement = judged("w.joblib", stream.getvalue())
    assert judgement.verdict == "ask" and "NumpyArrayWrapper" in judgement.findings[0].reason


def test_an_array_of_joblib_hides_no_instructions_from_plain_unpicklers(judged, marker):
    """What joblib reads as numbers, `pickle.load` would run."""
    hidden = run(marker) + b"."
    stream = io.BytesIO()
    joblib.dump({"x": np.frombuffer(hidden.ljust(200), np.uint8)}, stream)
    data = stream.getvalue()
    start = data.index(hidden)
    padding = data[start - data[start - 1 - 15 : start].count(b"\xff") - 1]
    cut = start - padding - 1
    data = data[:cut] + data[start:]  # joblib before 1.1 wrote no padding
    data = data.replace(text("numpy_array_alignment_bytes") + data[data.index(b"alignment_bytes") + 15 :][:3], b"", 1)
    judgement = judged("w.joblib", data)
    assert judgement.verdict == "reject"


def test_an_array_of_joblib_claims_no_more_than_there_is(judged):
    stream = io.BytesIO()
    joblib.dump(np.arange(1000.0), stream)
    assert judged("w.joblib", stream.getvalue()[:-9]).verdict == "reject"


def test_a_large_pickle_is_judged_quickly_and_in_little_memory():
    data = pickle.dumps({"w": bytes(50_000_000), "rows": [[i, str(i)] for i in range(20_000)]}, 4)
    tracemalloc.start()
    began = time.process_time()
    found = list(inspect(Content(stream=io.BytesIO(data), size=len(data), name="w.pkl")))
    seconds, peak = time.process_time() - began, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert worst(found) == "accept" and seconds < 10 and peak < 40e6


def test_words_are_no_pickle_and_a_pickle_is_no_words(judged, marker):
    for words in (
        b"cat\ndog\nelephant\n",
        b"in\nof\nRat\n",
        b"I like it.\n",
        b"(c) 2024 Me.\n",
        b"N. Foo et al.\n",
        b"cat\ndog\nperson\n",
        b"path\tbytes\n",
    ):
        assert judged("labels.txt", words).findings == (), words
    old = b"cos\nsystem\n(Vtouch " + str(marker).encode() + b"\ntR.\n"
    for hidden in (old, b"I010\n0" + old, b"Np1000000\n0" + old, b"GIF89a..." + old, b"V" + b"x" * 3000 + b"\n0" + old):
        assert judged("labels.txt", hidden).verdict == "reject", hidden[:20]
