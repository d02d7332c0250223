"""ONNX: data that lie elsewhere, tensors that lie about their size, operators that are code."""

import struct

import pytest


def outside(made, location: str, **more: object) -> bytes:
    facts = {"location": location, **more}
    entries = [made.part(13, made.part(1, key) + made.part(2, str(value))) for key, value in facts.items()]
    return made.onnx_model(made.onnx_tensor("w", (4,), 1, *entries, made.part(14, 1)))


def rules(judgement) -> list[str]:
    return [finding.rule for finding in judgement.findings]


@pytest.fixture
def data(tmp_path):
    (tmp_path / "w.bin").write_bytes(bytes(16))
    return tmp_path


def test_data_beside_the_model_are_taken(judged, made, data) -> None:
    assert judged("m.onnx", outside(made, "w.bin")).verdict == "accept"
    assert judged("m.onnx", outside(made, "w.bin", offset=0, length=16)).verdict == "accept"
    assert judged("w.bin", bytes(16)).verdict == "accept"  # since a model beside it says that it is its own
    assert judged("other.bin", bytes(16)).verdict == "reject"


@pytest.mark.parametrize(
    "location",
    ["../w.bin", "a/../../w.bin", "/etc/passwd", "C:\\w.bin", "..\\w.bin", "", "a\nb", "http://x/w.bin", "~/w.bin"],
)
def test_paths_out_of_the_folder_are_refused(judged, made, data, location: str) -> None:
    assert rules(judged("m.onnx", outside(made, location))) == ["onnx-external-path"]


def test_links_out_of_the_folder_are_refused(judged, made, tmp_path) -> None:
    home = tmp_path / "model"
    home.mkdir()
    (tmp_path / "secret").write_bytes(bytes(16))
    (home / "soft").symlink_to(tmp_path / "secret")
    (home / "hard").hardlink_to(tmp_path / "secret")
    (home / "folder").symlink_to(tmp_path)
    for location in ("soft", "hard", "folder/secret"):
        assert rules(judged("model/m.onnx", outside(made, location))) == ["onnx-external-path"], location
    assert "hard link" in judged("model/m.onnx", outside(made, "hard")).findings[0].reason


@pytest.mark.parametrize(
    "rule, location, more",
    [
        ("onnx-external-missing", "none.bin", {}),
        ("onnx-external-key", "w.bin", {"basepath": "/etc"}),
        ("onnx-external-key", "w.bin", {"__class__": "x"}),
        ("onnx-tensor", "w.bin", {"offset": 2**40}),
        ("onnx-tensor", "w.bin", {"offset": -4}),
        ("onnx-tensor", "w.bin", {"length": 8}),
        ("onnx-tensor", "w.bin", {"length": "9" * 60}),
    ],
)
def test_data_must_be_there_and_whole(judged, made, data, rule: str, location: str, more) -> None:
    assert rules(judged("m.onnx", outside(made, location, **more))) == [rule]


@pytest.mark.parametrize(
    "dims, code, extra, good",
    [
        ((4,), 1, [(9, bytes(16))], True),
        ((4,), 1, [(9, bytes(7))], False),
        ((2,), 1, [(4, struct.pack("<ff", 1, 2))], True),
        ((3,), 1, [(4, struct.pack("<ff", 1, 2))], False),
        ((2,), 7, [(7, b"\x01\xff\x01")], True),
        ((2,), 7, [(7, 1), (7, 2)], True),
        ((2,), 8, [(6, "a"), (6, "b")], True),
        ((3,), 21, [(5, b"\x01\x02")], True),
        ((3,), 21, [(9, bytes(2))], True),
        ((), 11, [(10, struct.pack("<d", 1))], True),
        ((2**62, 2**62), 1, [(9, bytes(16))], False),
        ((-1,), 1, [], False),
        ((1,), 99, [(9, bytes(4))], False),
        ((4,), 1, [], False),
    ],
)
def test_tensors_are_as_large_as_they_say(judged, made, dims, code, extra, good: bool) -> None:
    tensor = made.onnx_tensor("w", dims, code, *(made.part(number, value) for number, value in extra))
    judgement = judged("m.onnx", made.onnx_model(tensor))
    assert rules(judgement) == ([] if good else ["onnx-tensor"])


@pytest.mark.parametrize(
    "verdict, name, domain",
    [
        ("accept", "Relu", ""),
        ("accept", "Relu", "ai.onnx"),
        ("accept", "LinearClassifier", "ai.onnx.ml"),
        ("accept", "FusedMatMul", "com.microsoft"),
        ("ask", "Anything", "com.example"),
        ("reject", "NotAnOp", ""),
        ("reject", "PyOp", "ai.onnx.contrib"),
        ("reject", "PythonOp", "com.microsoft"),
    ],
)
def test_operators_by_name(judged, made, verdict: str, name: str, domain: str) -> None:
    node = made.part(4, name) + made.part(7, domain)
    assert judged("m.onnx", made.onnx_model(None, [node])).verdict == verdict
    body = made.part(1, "b") + made.part(6, made.part(1, node))
    assert judged("m.onnx", made.onnx_model(None, [made.part(4, "If") + made.part(5, body)])).verdict == verdict


def test_functions_that_hold_themselves_or_grow_without_end_are_refused(judged, made) -> None:
    def function(name: str, *uses: str) -> bytes:
        nodes = b"".join(made.part(7, made.part(4, use) + made.part(7, "d")) for use in uses)
        return made.part(25, made.part(1, name) + nodes + made.part(10, "d"))

    used = made.part(4, "a") + made.part(7, "d")
    circle = made.onnx_model(None, [used], function("a", "b") + function("b", "a"))
    assert rules(judged("m.onnx", circle)) == ["onnx-function"]
    chain = b"".join(function(chr(97 + i), *[chr(98 + i)] * 4) for i in range(20))
    assert rules(judged("m.onnx", made.onnx_model(None, [used], chain))) == ["onnx-function"]


def test_graphs_inside_graphs_end_at_a_depth(judged, made) -> None:
    graph = made.part(2, "leaf")
    for _ in range(200):
        branch = made.part(1, "then_branch") + made.part(6, graph)
        graph = made.part(1, made.part(4, "If") + made.part(5, branch))
    assert rules(judged("m.onnx", made.part(1, 9) + made.part(7, graph))) == ["wire-depth"]
